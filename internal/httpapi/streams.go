package httpapi

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"hark/internal/eventstream"
	"hark/internal/id"
	"hark/internal/problem"
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
	draft, err := c.streamBody()
	if err != nil {
		return nil, err
	}
	r, err := c.shard.CreateStream(c.Context(), c.principal, draft)
	if limit, ok := errors.AsType[*problem.Error](err); ok && limit.Kind == problem.Limit && !strings.Contains(c.URL.Path, "/sse/") {
		limit.Kind = problem.Conflict // as the older of the two paths answers (reference 2.8)
	}
	if err != nil {
		return nil, err
	}
	return c.viewStream(r), nil
}

func (c *call) streamBody() (draft eventstream.Registration, err error) {
	if err := c.decode(&draft); err != nil {
		return draft, err
	}
	draft.Version = cmp.Or(draft.Version, 1)
	if len(draft.Name) > 256 || len(draft.Filters) > 100 {
		return draft, problem.Field("subscriptionFilters", "SizeError", "a stream has a name of at most 256 characters and at most 100 filters")
	}
	return draft, nil
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

// updateStream changes the name and the filters; an open stream shows what they say from the
// next event on (reference 2.1: the platform has it, its bodies are not known).
func (c *call) updateStream() (any, error) {
	stream, err := pathID[id.Stream](c, "stream")
	if err != nil {
		return nil, err
	}
	draft, err := c.streamBody()
	if err != nil {
		return nil, err
	}
	r, err := c.shard.UpdateStream(c.Context(), c.principal, stream, draft)
	if err != nil {
		return nil, err
	}
	return c.viewStream(r), nil
}

// activate is the stream itself (reference 2.4, 2.5). Once it is open and the past is written,
// the connection belongs to the writers, and no goroutine waits for it.
func (c *call) activate() (any, error) {
	stream, err := pathID[id.Stream](c, "stream")
	if err != nil {
		return nil, err
	}
	r, err := c.shard.Stream(c.principal, stream)
	if err != nil {
		return nil, err
	}
	after, resume, err := parseLastEventID(c.Request.Header.Get("Last-Event-ID"))
	if err != nil {
		return nil, err
	}
	c.shard.Hub().End(r.ID, eventstream.ErrReplaced) // before the past is written, which may take long
	conn, _, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if err != nil {
		return nil, problem.New(problem.Unsupported, "An event stream needs a connection of its own, over HTTP/1.1.")
	}
	s := newSink(c, conn, r)
	if err := s.begin(c, r, after, resume); err != nil {
		s.end(err)
	}
	return nil, nil
}

// parseLastEventID returns the position after which the client wants to go on. An id that is
// no position is another server's, and refused: going on from it would hide what was missed.
func parseLastEventID(header string) (after uint64, resume bool, err error) {
	text := strings.TrimSpace(header)
	if text == "" {
		return 0, false, nil
	}
	after, err = strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, false, problem.New(problem.Invalid, "Last-Event-ID is %.40q; this server's ids are numbers, the positions of events in its journal.", text).At("Last-Event-ID").Coded("PatternError")
	}
	return after, true, nil
}
