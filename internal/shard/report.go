package shard

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"hark/internal/capability"
	"hark/internal/engine"
	"hark/internal/event"
	"hark/internal/home"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
	"hark/internal/subscription"
	"hark/internal/telemetry"
)

// Report is what a device says about one attribute.
type Report struct {
	Device      id.Device
	Component   string // "" is main
	Capability  string
	Attribute   string
	Value       capability.Value
	Unit        string
	Data        capability.Value // a JSON object, or ""
	Time        time.Time        // zero is now
	StateChange *bool            // nil: whether the value differs from the last one
	CommandID   string
}

// Outcome is what became of one report: the event that it caused, or why there is none.
type Outcome struct {
	Event *event.Event
	Err   error
}

// maxContent bounds the value and data of one report, in bytes.
const maxContent = 64 << 10

// Report journals what devices said, in order, and returns once all of it is durable. With
// strict, for up to a thousand, one bad report refuses all; else the others are taken, and each
// outcome tells.
func (s *Shard) Report(ctx context.Context, p scope.Principal, reports []Report, strict bool) (all []Outcome, failure error) {
	outcomes := make([]Outcome, 0, len(reports))
	var waits []chan error
	ctx, span := s.tel.Start(ctx, "journal")
	span.Set("hark.reports", len(reports))
	defer func() { span.End(failure) }()
	trace := telemetry.Carried(ctx)
	for chunk := range slices.Chunk(reports, maxAtOnce) {
		some, wait, err := s.take(p, chunk, strict, trace)
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, some...)
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		select {
		case err := <-wait:
			if err != nil {
				return nil, notJournalled(err)
			}
		case <-ctx.Done():
			return nil, notJournalled(ctx.Err())
		}
	}
	s.count(outcomes)
	return outcomes, nil
}

func (s *Shard) count(outcomes []Outcome) {
	rejected := 0
	for _, o := range outcomes {
		if o.Err != nil {
			rejected++
		}
	}
	s.tel.Reports.WithLabelValues("accepted").Add(float64(len(outcomes) - rejected))
	s.tel.Reports.WithLabelValues("rejected").Add(float64(rejected))
}

// maxAtOnce is how many reports are taken under one lock: a large request must not hold up
// the others. A strict request has at most as many.
const maxAtOnce = engine.MaxAppend

// take checks and journals some reports. Wait gets a value when they are durable.
func (s *Shard) take(p scope.Principal, reports []Report, strict bool, trace string) (outcomes []Outcome, wait chan error, err error) {
	outcomes = make([]Outcome, len(reports))
	wait = make(chan error, 1)
	if err := s.full(); err != nil { // reports are what fills a disk; the rest of it is for the rest
		return nil, nil, notJournalled(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range reports {
		if outcomes[i].Err = s.checkReport(p, &reports[i]); outcomes[i].Err != nil && strict {
			return nil, nil, outcomes[i].Err
		}
	}
	var events []*event.Event
	for i, r := range reports {
		if outcomes[i].Err == nil {
			events = append(events, s.heard(s.devices[r.Device], r)...)
			outcomes[i].Event = s.happened(r)
			events = append(events, outcomes[i].Event)
		}
	}
	if len(events) == 0 {
		wait <- nil
		return outcomes, wait, nil
	}
	return outcomes, wait, s.append(events, trace, wait)
}

func notJournalled(err error) error {
	return problem.New(problem.Unavailable, "The events could not be made durable, so they are not acknowledged: %v.", err)
}

// append journals the events, which have no trace yet or this one, works them into memory, and
// tells wait when they are durable. The caller holds mu, so that positions, states and
// subscriptions agree.
func (s *Shard) append(events []*event.Event, trace string, wait chan<- error) error {
	if trace != "" {
		for _, e := range events {
			e.Trace = trace
		}
	}
	err := s.journal.Append(events, func(err error) {
		if err == nil {
			s.committed(events)
		}
		wait <- err
	})
	if err != nil {
		return notJournalled(err)
	}
	for _, e := range events {
		s.apply(s.locations[e.Location], e)
	}
	return nil
}

// committed hands durable events to delivery. The journal calls it in order.
func (s *Shard) committed(events []*event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	started, pairs := time.Now(), 0
	debug := s.log.Enabled(context.Background(), slog.LevelDebug)
	s.index.MatchAll(events, func(e *event.Event, matched []*subscription.Subscription) {
		pairs += len(matched)
		s.tel.Events.WithLabelValues(string(e.Type)).Inc()
		s.tel.Past(e.Trace, "match", started, "hark.event", e.ID, "hark.position", e.Seq, "hark.subscriptions", len(matched))
		if debug {
			s.log.Debug("event journalled", "event", e.ID, "position", e.Seq, "type", e.Type, "location", e.Location, "device", e.About(), "subscriptions", len(matched))
		}
		if l := s.locations[e.Location]; l != nil {
			l.last = e.Seq
			l.settled.follow(e)
			s.dirtyPlaces[l] = struct{}{}
		}
		s.delivery.Offer(e, s.withOwn(e, matched))
		s.hub.Publish(e)
		s.through = e.Seq
	})
	s.tel.Matches.Add(float64(pairs))
	s.tel.MatchSeconds.Observe(time.Since(started).Seconds())
}

// follow works an event into the place.
func (p *place) follow(e *event.Event) {
	switch {
	case e.Type == event.ModeEvent:
		p.Mode = e.Mode
	case e.Arm != nil:
		p.Arm = e.Arm.State
	}
}

// apply works an event into the state of its device or location. The caller holds mu.
func (s *Shard) apply(l *location, e *event.Event) {
	if l == nil {
		return
	}
	l.follow(e)
	if e.Device == nil && e.Health == nil {
		return
	}
	d := s.devices[e.About()]
	if d == nil || e.Seq <= d.seq {
		return
	}
	d.seq = e.Seq
	s.dirty[d] = struct{}{}
	if e.Health != nil {
		d.health = Health{e.Health.Status, e.Health.Reason, e.Time}
		return
	}
	d.lastReport = e.Time
	d.set(attribute(e))
}

func (d *device) find(component, capability, attribute string) int {
	return slices.IndexFunc(d.state, func(a home.Attribute) bool {
		return a.Attribute == attribute && a.Capability == capability && a.Component == component
	})
}

func (d *device) set(a home.Attribute) {
	if i := d.find(a.Component, a.Capability, a.Attribute); i >= 0 {
		d.state[i] = a
	} else {
		d.state = append(d.state, a)
	}
}

// checkReport reports what is wrong with a report and fills in its defaults. The caller
// holds mu.
func (s *Shard) checkReport(p scope.Principal, r *Report) error {
	d, err := s.device(p, r.Device, "w")
	if err != nil {
		return err
	}
	if r.Component == "" {
		r.Component = "main"
	}
	c, ok := d.home.Component(r.Component)
	if !ok {
		return problem.Field("component", "PatternError", "the device %s has no component %.60q; it has %v", d.home.Label, r.Component, componentIDs(d.home))
	}
	if !c.Has(r.Capability) {
		return problem.Field("capability", "PatternError", "the component %s of %s has no capability %.140q; it has %v", c.ID, d.home.Label, r.Capability, capabilityIDs(c))
	}
	definition, ok := s.directory.Capabilities.Capability(r.Capability)
	if !ok {
		return problem.Field("capability", "PatternError", "hark does not know the capability %.140q any more; POST /capabilities adds it", r.Capability)
	}
	if len(r.Value)+len(r.Data) > maxContent {
		return problem.Field("value", "SizeError", "value and data have %d bytes of JSON, the maximum is %d", len(r.Value)+len(r.Data), maxContent)
	}
	if err := definition.CheckValue(r.Attribute, r.Value, r.Unit); err != nil {
		return problem.Field("value", "ConstraintViolationError", "%v", err)
	}
	if r.Data != "" && r.Data.Type() != "object" {
		return problem.Field("data", "PatternError", "it is a %s; data is an object", r.Data.Type())
	}
	if r.Unit == "" {
		r.Unit = definition.Unit(r.Attribute)
	}
	return nil
}

// happened makes the event of a checked report and works it into the device's state at once,
// so that the next report of the call is compared with this one. The caller holds mu, and
// journals the event.
func (s *Shard) happened(r Report) *event.Event {
	e := s.compose(r)
	d := s.devices[r.Device]
	d.set(attribute(e))
	s.watch(d)
	return e
}

// compose makes the event of a checked report. The caller holds mu.
func (s *Shard) compose(r Report) *event.Event {
	d := s.devices[r.Device]
	changed := capability.Momentary(r.Capability, r.Attribute)
	if i := d.find(r.Component, r.Capability, r.Attribute); i < 0 || d.state[i].Value != r.Value {
		changed = true
	}
	if r.StateChange != nil {
		changed = *r.StateChange
	}
	e := event.New(event.DeviceEvent, d.home.Location, d.at.Mode)
	if !r.Time.IsZero() {
		e.Time = r.Time.UTC().Truncate(time.Millisecond)
	}
	e.Device = &event.Report{
		Device: r.Device, Component: r.Component, Capability: r.Capability, Attribute: r.Attribute,
		Value: r.Value, Unit: r.Unit, Data: r.Data, StateChange: changed, CommandID: r.CommandID,
	}
	return e
}

// attribute is what a device's event leaves as its state.
func attribute(e *event.Event) home.Attribute {
	r := e.Device
	return home.Attribute{Component: r.Component, Capability: r.Capability, Attribute: r.Attribute, Value: r.Value, Unit: r.Unit, Data: r.Data, Time: e.Time}
}

func noDevice(device id.Device) error {
	return problem.New(problem.NotFound, "There is no device with the id %s on this hark.", device).At("deviceId")
}

func componentIDs(d *home.Device) []string {
	var ids []string
	for _, c := range d.Components {
		ids = append(ids, c.ID)
	}
	return ids
}

func capabilityIDs(c *home.Component) []string {
	var ids []string
	for _, ref := range c.Capabilities {
		ids = append(ids, ref.ID)
	}
	return ids
}

// Command tells a device to do something.
type Command = home.Command

// Result is what became of a command.
type Result struct {
	ID     string `json:"id"`
	Status string `json:"status"` // ACCEPTED, COMPLETED, FAILED
}

// Execute checks all commands, then carries them out on a virtual device: what they change
// is reported as the device's events. To a device of an installed app they are handed on. One
// bad command refuses all.
func (s *Shard) Execute(ctx context.Context, p scope.Principal, device id.Device, commands []Command) ([]Result, error) {
	h, err := s.Device(p, device, "x")
	if err != nil {
		return nil, err
	}
	definitions, err := s.checkCommands(h, "", commands)
	if err != nil {
		return nil, err
	}
	switch h.Type {
	case home.Virtual:
	case home.EndpointApp:
		return s.handOn(ctx, h, commands)
	default:
		return nil, problem.New(problem.Unsupported, "%s is a device of type %s; this version of hark executes commands on VIRTUAL devices and those of apps only.", h.Label, h.Type).
			Coded("UnsupportedOperationError")
	}
	results := make([]Result, len(commands))
	own := scope.Principal{Name: h.Label, Scopes: scope.Set{scope.Device("w", device)}} // the device speaks for itself
	for i, c := range commands {
		results[i] = Result{ID: id.New[id.Event]().String(), Status: "COMPLETED"}
		component, _ := h.Component(c.Component)
		changes := definitions[i].Execute(c.Command, c.Arguments, func(capability, attribute string) capability.Value {
			return s.value(device, c.Component, capability, attribute)
		}, component.Has)
		reports := make([]Report, len(changes))
		for j, change := range changes {
			reports[j] = Report{Device: device, Component: c.Component, Capability: change.Capability, Attribute: change.Attribute,
				Value: change.Value, Unit: change.Unit, CommandID: results[i].ID}
		}
		if _, err := s.Report(ctx, own, reports, true); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// handOn tells the installed app whose device it is what the device is to do (reference 3.4).
func (s *Shard) handOn(ctx context.Context, h *home.Device, commands []Command) ([]Result, error) {
	results := make([]Result, len(commands))
	return results, s.happen(ctx, func() ([]*event.Event, error) {
		l := s.locations[h.Location]
		if s.installed[h.Owner] == nil || l == nil {
			return nil, problem.New(problem.Conflict, "The app that the device %s belongs to (%s) is installed no more, so nobody can execute its commands.", h.Label, h.Owner)
		}
		e := event.New(event.DeviceCommandsEvent, h.Location, l.Mode)
		e.InstalledApp = h.Owner
		e.Commands = &event.DeviceCommands{Device: h.ID, Profile: h.Profile, ExternalID: h.ExternalID}
		for i, c := range commands {
			results[i] = Result{ID: id.New[id.Event]().String(), Status: "ACCEPTED"}
			if c.Arguments == nil {
				c.Arguments = []capability.Value{}
			}
			e.Commands.Commands = append(e.Commands.Commands, event.Command(c))
		}
		return []*event.Event{e}, nil
	})
}

// checkCommands reports what is wrong with commands to the device, where being how the request
// calls the list's surroundings, fills in their defaults, and returns their definitions.
func (s *Shard) checkCommands(h *home.Device, where string, commands []Command) ([]*capability.Capability, error) {
	definitions := make([]*capability.Capability, len(commands))
	for i := range commands {
		c := &commands[i]
		target := fmt.Sprintf("%scommands[%d]", where, i)
		if c.Component == "" {
			c.Component = "main"
		}
		component, ok := h.Component(c.Component)
		if !ok {
			return nil, problem.Field(target+".component", "PatternError", "the device %s has no component %.60q; it has %v", h.Label, c.Component, componentIDs(h))
		}
		definition, known := s.directory.Capabilities.Capability(c.Capability)
		if !known || !component.Has(c.Capability) {
			return nil, problem.Field(target+".capability", "PatternError", "the component %s of %s has no capability %.140q; it has %v", c.Component, h.Label, c.Capability, capabilityIDs(component))
		}
		if part, err := definition.CheckCommand(c.Command, c.Arguments); err != nil {
			return nil, problem.Field(target+"."+part, "ConstraintViolationError", "%v", err)
		}
		definitions[i] = definition
	}
	return definitions, nil
}

func (s *Shard) value(device id.Device, component, capabilityID, attribute string) capability.Value {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if d := s.devices[device]; d != nil {
		if i := d.find(component, capabilityID, attribute); i >= 0 {
			return d.state[i].Value
		}
	}
	return ""
}
