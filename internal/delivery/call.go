package delivery

import (
	"runtime"
	"time"

	"hark/internal/appcall"
	"hark/internal/apps"
	"hark/internal/attempts"
	"hark/internal/envelope"
)

// call is one call to an app: the parcels that it carries, as the app and its grants are when
// it is made.
type call struct {
	app      *apps.App
	in       *apps.Installed
	parcels  []parcel          // what it is for
	allowed  []parcel          // of these, what it carries
	withheld *attempts.Attempt // what it does not, and why; nil when it carries all
	message  appcall.Message
	ready    chan struct{} // closed once it is signed; nil when nobody does that ahead
}

// to says where parcels go, if not to the app as usual.
type to struct {
	url    string // instead of the app's target
	replay string // the id of the replay that they are part of
}

// call makes a call.
func (d *Dispatcher) call(app *apps.App, in *apps.Installed, parcels []parcel, where to) *call {
	c := &call{app: app, in: in, parcels: parcels}
	if c.allowed, c.withheld = d.allowed(in, parcels); c.withheld != nil {
		c.withheld.App, c.withheld.Replay = app.Name, where.replay
	}
	if len(c.allowed) == 0 {
		return c
	}
	token := ""
	if app.SmartApp() {
		token = d.directory.EventToken(in.ID, time.Now())
	}
	c.message = appcall.Message{
		ID: messageID(c.allowed), URL: where.url, Replay: where.replay,
		Body: envelope.Events(app, in, token, len(c.allowed), func(b []byte, i int) []byte {
			return c.allowed[i].event.AppendWebhook(b, c.allowed[i].subscription.DeliveryName())
		}),
	}
	return c
}

// line is the calls that come next, in order. They are made and signed while the one before them
// is under way: a signature takes as long as an app's answer.
type line []*call

// lineLength is how many calls to an app are made ahead: with one on each processor an app that is
// alone gets all that the machine can sign.
var lineLength = runtime.GOMAXPROCS(0)

// next returns the call that carries the first size parcels, and has those after it made while
// that is under way. What was made for an app that has changed is made anew.
func (l *line) next(d *Dispatcher, app *apps.App, in *apps.Installed, parcels []parcel, size int, forward bool) *call {
	var first *call
	if list := *l; len(list) > 0 && list[0].app == app && list[0].in == in && &list[0].parcels[0] == &parcels[0] && len(list[0].parcels) == size {
		first, *l = list[0], list[1:]
	} else {
		first, *l = d.call(app, in, parcels[:size], to{}), nil
	}
	rest := parcels[size:]
	for _, made := range *l {
		rest = rest[len(made.parcels):]
	}
	for forward && len(*l) < lineLength && len(rest) > 0 {
		n := min(size, len(rest))
		ordered := &call{app: app, in: in, parcels: rest[:n], ready: make(chan struct{})}
		select {
		case d.orders <- ordered:
			*l, rest = append(*l, ordered), rest[n:]
			continue
		default: // the makers have enough to do
		}
		break
	}
	if first.ready != nil {
		<-first.ready
	}
	return first
}

// maxOrders is how many calls of all apps may wait to be made ahead.
const maxOrders = 256

// makeAhead makes and signs what is ordered, until the dispatcher stops. There is a maker for each
// processor: more would have calls that are due wait among those that are not, and one that goes on
// has its stack already.
func (d *Dispatcher) makeAhead() {
	for ordered := range d.orders {
		made := d.call(ordered.app, ordered.in, ordered.parcels, to{})
		ordered.allowed, ordered.withheld, ordered.message = made.allowed, made.withheld, made.message
		if len(ordered.allowed) > 0 {
			// What goes wrong is tried again when its turn has come, and told then.
			_ = d.caller.Prepare(d.ctx, ordered.app, &ordered.message)
		}
		close(ordered.ready)
	}
}
