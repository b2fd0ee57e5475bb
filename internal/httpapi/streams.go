package httpapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hark/internal/event"
	"hark/internal/eventstream"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/shard"
)

// streamView is a registered stream as the API shows it (reference 2.3).
type streamView struct {
	SubscriptionID  id.Stream            `json:"subscriptionId"`
	RegistrationURL string               `json:"registrationUrl"`
	Name            string               `json:"name"`
	Version         int                  `json:"version"`
	ClientDeviceID  string               `json:"clientDeviceId,omitempty"`
	Filters         []eventstream.Filter `json:"subscriptionFilters"`
}

// viewStream gives an address of this server, by the name that the client knows it by.
func (c *call) viewStream(r *eventstream.Registration) any {
	return streamView{r.ID, c.origin() + "/filters/" + r.ID.String() + "/activate?filterRegion=hark", r.Name, r.Version, r.ClientDeviceID, r.Filters}
}

func (c *call) createStream() (any, error) {
	var draft eventstream.Registration
	if err := c.decode(&draft); err != nil {
		return nil, err
	}
	draft.Version = cmp.Or(draft.Version, 1)
	if len(draft.Name) > 256 || len(draft.Filters) > 100 {
		return nil, problem.Field("subscriptionFilters", "SizeError", "a stream has a name of at most 256 characters and at most 100 filters")
	}
	r, err := c.shard.CreateStream(c.Context(), c.principal, draft)
	if err != nil {
		return nil, err
	}
	return c.viewStream(r), nil
}

func (c *call) listStreams() (any, error) {
	return paged(c, c.shard.Streams(c.principal), c.viewStream)
}

func (c *call) getStream() (any, error) {
	stream, err := pathID[id.Stream](c, "stream")
	if err != nil {
		return nil, err
	}
	r, err := c.shard.Stream(c.principal, stream)
	if err != nil {
		return nil, err
	}
	return c.viewStream(r), nil
}

// deleteStream answers 200 whatever the id: an error would end some clients' event loops.
func (c *call) deleteStream() (any, error) {
	stream, err := id.Parse[id.Stream](c.PathValue("stream"))
	if err != nil {
		return counted{0}, nil
	}
	deleted, err := c.shard.DeleteStream(c.Context(), c.principal, stream)
	if err != nil {
		return nil, err
	}
	if deleted {
		return counted{1}, nil
	}
	return counted{0}, nil
}

const (
	// keepAlive is how often an idle stream gets a comment; clients give up after 120 s of
	// silence, proxies after less.
	keepAlive = 15 * time.Second
	// writeTimeout is how long one write may take before the reader counts as gone.
	writeTimeout = 10 * time.Second
)

// activate is the stream itself (reference 2.4, 2.5).
func (c *call) activate() (any, error) {
	stream, err := pathID[id.Stream](c, "stream")
	if err != nil {
		return nil, err
	}
	r, err := c.shard.Stream(c.principal, stream)
	if err != nil {
		return nil, err
	}
	resume, after, err := c.lastEventID()
	if err != nil {
		return nil, err
	}
	live, err := c.shard.Hub().Open(r)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "No stream can be opened now: %v.", err)
	}
	defer c.shard.Hub().Leave(live)
	c.Header().Set("Content-Type", "text/event-stream")
	c.Header().Set("Cache-Control", "no-store")
	c.Header().Set("X-Accel-Buffering", "no") // or a proxy keeps events back
	c.WriteHeader(http.StatusOK)
	w := &streamWriter{c: c, control: http.NewResponseController(c.ResponseWriter), registration: r}
	w.write("retry: 1000\n") // milliseconds after which a browser's EventSource opens a lost stream again
	w.frame("", "CONTROL_EVENT", "welcome")
	if resume {
		err = w.past(after, live.After)
	}
	if err == nil {
		err = w.follow(live)
	}
	if err != nil && !errors.Is(err, errReaderGone) {
		w.frame("", "CONTROL_EVENT", "goodbye")
	}
	c.log.Info("stream ended", "stream", r.ID, "name", r.Name, "caller", c.principal.Name, "because", err)
	return nil, nil
}

// lastEventID returns the position after which the client wants to go on. An id that is no
// position is another server's, and refused: going on from it would hide what was missed.
func (c *call) lastEventID() (resume bool, after uint64, err error) {
	text := strings.TrimSpace(c.Request.Header.Get("Last-Event-ID"))
	if text == "" {
		return false, 0, nil
	}
	after, err = strconv.ParseUint(text, 10, 64)
	if err != nil {
		return false, 0, problem.New(problem.Invalid, "Last-Event-ID is %.40q; this server's ids are numbers, the positions of events in its journal.", text).At("Last-Event-ID").Coded("PatternError")
	}
	return true, after, nil
}

var (
	errReaderGone = errors.New("the reader is gone")
	errTokenGone  = errors.New("the access token is no longer good")
)

// streamWriter writes one stream. The first failed write ends it.
type streamWriter struct {
	c            *call
	control      *http.ResponseController
	registration *eventstream.Registration
	err          error
}

// frame writes one event of the stream; every line of data becomes a line of the frame.
func (w *streamWriter) frame(eventID, name, data string) {
	var b strings.Builder
	if eventID != "" {
		b.WriteString("id: " + eventID + "\n")
	}
	b.WriteString("event: " + name + "\ndata: " + strings.ReplaceAll(data, "\n", "\ndata: ") + "\n\n")
	w.write(b.String())
}

func (w *streamWriter) write(text string) {
	if w.err != nil {
		return
	}
	w.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // if it fails, the write does too
	if _, err := w.c.ResponseWriter.Write([]byte(text)); err != nil {
		w.err = errReaderGone
		return
	}
	if err := w.control.Flush(); err != nil {
		w.err = errReaderGone
	}
}

// show writes the event, if the caller may still see it.
func (w *streamWriter) show(e *event.Event) error {
	p := w.c.principal
	if token := w.c.bearer; token != "" {
		var err error
		if p, err = w.c.shard.Principal(token); err != nil {
			return errTokenGone
		}
	}
	if !shard.Shows(w.registration, p, e) {
		return w.err
	}
	data, err := json.Marshal(e.Stream(w.registration.Name))
	if err != nil {
		return err
	}
	w.frame(strconv.FormatUint(e.Seq, 10), string(e.Type), string(data))
	return w.err
}

// past writes what the client missed, and says so when some of it is gone.
func (w *streamWriter) past(after, upTo uint64) error {
	gone := func(before uint64) { w.frame("", "GAP_EVENT", fmt.Sprintf(`{"after":%d,"before":%d}`, after, before)) }
	if after > upTo { // of a journal that is no more
		gone(upTo + 1)
		return w.err
	}
	if err := w.c.shard.Past(w.c.Context(), after, upTo, gone, w.show); err != nil {
		return err
	}
	return w.err
}

// follow writes live events until the stream or the connection ends.
func (w *streamWriter) follow(live *eventstream.Live) error {
	idle := time.NewTicker(keepAlive)
	defer idle.Stop()
	for {
		select {
		case e, ok := <-live.C:
			if !ok {
				return live.Err()
			}
			if err := w.show(e); err != nil {
				return err
			}
		case <-idle.C:
			w.write(": keepalive\n\n")
			if w.err != nil {
				return w.err
			}
		case <-w.c.Context().Done():
			return errReaderGone
		}
	}
}
