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
		*l = append(*l, d.callAhead(app, in, rest[:n]))
		rest = rest[n:]
	}
	if first.ready != nil {
		<-first.ready
	}
	return first
}

// callAhead makes and signs a call beside what else happens.
func (d *Dispatcher) callAhead(app *apps.App, in *apps.Installed, parcels []parcel) *call {
	later := &call{app: app, in: in, parcels: parcels, ready: make(chan struct{})}
	d.pumps.Go(func() {
		defer close(later.ready)
		made := d.call(app, in, parcels, to{})
		later.allowed, later.withheld, later.message = made.allowed, made.withheld, made.message
		if len(later.allowed) > 0 {
			// What goes wrong is tried again when its turn has come, and told then.
			_ = d.caller.Prepare(d.ctx, app, &later.message)
		}
	})
	return later
}
