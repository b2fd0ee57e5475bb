package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"time"

	"hark/internal/event"
	"hark/internal/eventstream"
	"hark/internal/id"
	"hark/internal/scope"
)

// writeTimeout is how long a reader may let a stream wait before it counts as gone.
const writeTimeout = 10 * time.Second

var errTokenGone = errors.New("the access token is no longer good")

// sink is the connection of an open stream. While nothing happens it has no goroutine and no
// buffer.
type sink struct {
	api    *API
	conn   net.Conn
	raw    syscall.RawConn // nil where a write cannot be tried without waiting
	live   *eventstream.Live
	stream id.Stream
	bearer string
	owner  *scope.Principal // without a bearer token
}

func newSink(c *call, conn net.Conn, r *eventstream.Registration) *sink {
	s := &sink{api: c.API, conn: conn, stream: r.ID, bearer: c.bearer}
	if c.bearer == "" {
		p := c.principal
		s.owner = &p
	}
	if tcp, ok := conn.(*net.TCPConn); ok && canTry {
		if raw, err := tcp.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	return s
}

// principal returns who reads, with the scopes in force now.
func (s *sink) principal() (scope.Principal, error) {
	if s.owner != nil {
		return *s.owner, nil
	}
	p, err := s.api.shard.Principal(s.bearer)
	if err != nil {
		return p, errTokenGone
	}
	return p, nil
}

// begin writes the answer's head and what the client missed, and hands the connection over to
// the writers.
func (s *sink) begin(c *call, r *eventstream.Registration, after uint64, resume bool) (err error) {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	header := c.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // or a proxy keeps events back
	header.Set("Connection", "close")     // the answer ends with the connection
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	header.Write(&b)                   // a buffer takes everything
	b.WriteString("\r\nretry: 1000\n") // milliseconds after which a browser opens a lost stream again
	b.WriteString(controlFrame("welcome"))
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	ctx := context.WithoutCancel(c.Context()) // it ended with the handover; a reader that is gone fails the write
	upTo := after
	if resume { // the most of it before events begin to wait
		upTo = c.shard.Committed()
		if err := s.past(ctx, r, after, upTo); err != nil {
			return err
		}
	}
	if r, err = c.shard.Stream(c.principal, s.stream); err != nil {
		return eventstream.ErrDeleted
	}
	if s.live, err = c.shard.Hub().Open(r, c.principal, func() { s.api.writers.add(s) }, s.gone); err != nil {
		return err
	}
	if resume && upTo < s.live.After {
		if err := s.past(ctx, r, upTo, s.live.After); err != nil {
			return err
		}
	}
	s.api.writers.add(s)
	return nil
}

func controlFrame(word string) string { return "event: CONTROL_EVENT\ndata: " + word + "\n\n" }

// past writes what the client missed between two positions, and says so when some of it is
// gone.
func (s *sink) past(ctx context.Context, r *eventstream.Registration, after, upTo uint64) error {
	var b []byte
	gone := func(before uint64) {
		b = fmt.Appendf(b, "event: GAP_EVENT\ndata: {\"after\":%d,\"before\":%d}\n\n", after, before)
	}
	if after > upTo { // of a journal that is no more
		gone(upTo + 1)
		return s.write(b)
	}
	name := r.NameJSON()
	err := s.api.shard.Past(ctx, after, upTo, gone, func(e *event.Event) error {
		p, err := s.principal()
		if err != nil {
			return err
		}
		if it := eventstream.NewItem(e); r.Matches(e) && it.ShownTo(p) {
			b = it.AppendFrame(b, name)
		}
		if len(b) < enough {
			return nil
		}
		err = s.write(b)
		b = b[:0]
		return err
	})
	if err != nil {
		return err
	}
	return s.write(b)
}

// enough is how many bytes are written at a time, about.
const enough = 32 << 10

// write writes all, waiting for the reader.
func (s *sink) write(b []byte) error {
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // if it fails, the write does too
	defer s.conn.SetWriteDeadline(time.Time{})            // or a later try meets it
	if _, err := s.conn.Write(b); err != nil {
		return eventstream.ErrGone
	}
	return nil
}

// try writes what the reader takes at once, and returns how much that is.
func (s *sink) try(b []byte) (n int, err error) {
	if s.raw == nil {
		return 0, nil
	}
	failed := s.raw.Write(func(fd uintptr) bool {
		n, err = tryWrite(fd, b)
		return true // whatever happened, do not wait
	})
	if failed != nil || err != nil {
		return 0, eventstream.ErrGone
	}
	return n, nil
}

// gone reports whether the reader has closed the connection.
func (s *sink) gone() bool {
	if s.raw == nil {
		return false
	}
	closed := false
	failed := s.raw.Read(func(fd uintptr) bool {
		closed = isClosed(fd)
		return true
	})
	return failed != nil || closed
}

// end closes the connection, with a word to the reader if it may be there still.
func (s *sink) end(why error) {
	if s.live != nil {
		s.api.shard.Hub().Leave(s.live)
	}
	if !errors.Is(why, eventstream.ErrGone) {
		s.write([]byte(controlFrame("goodbye"))) // the reader is gone
	}
	s.conn.Close()
	s.api.log.Info("stream ended", "stream", s.stream, "because", why)
}

// flush writes what waits for the stream until nothing does. A reader that does not take it at
// once gets a goroutine of its own until it has, or is cut off.
func (s *sink) flush(w *writer) {
	for {
		items, name, beat, ended, more := s.live.Take(w.items[:0])
		w.items = items
		if !more {
			return
		}
		b := w.buffer[:0]
		if len(items) > 0 {
			p, err := s.principal()
			if err != nil {
				ended, items = err, nil
			}
			for _, it := range items {
				if it.ShownTo(p) {
					b = it.AppendFrame(b, name)
				}
			}
		}
		if beat {
			b = append(b, ": keepalive\n\n"...)
		}
		clear(w.items)
		w.buffer = b
		n, err := 0, error(nil)
		if len(b) > 0 {
			n, err = s.try(b)
		}
		switch {
		case err != nil || beat && s.gone():
			s.end(eventstream.ErrGone)
			return
		case n < len(b) || ended != nil:
			rest := append([]byte(nil), b[n:]...)
			s.api.writers.alone(func() {
				err := ended
				if failed := s.write(rest); failed != nil {
					err = failed
				}
				if err != nil {
					s.end(err)
					return
				}
				s.api.writers.add(s)
			})
			return
		}
	}
}

// writers are the few goroutines that write all open streams. The zero writers are ready.
type writers struct {
	mu      sync.Mutex
	ready   []*sink
	working int // of the few
	slow    int // goroutines that wait for a slow reader
}

// writer is what one of them needs.
type writer struct {
	items  []*eventstream.Item
	buffer []byte
}

// add has the sink flushed. It returns at once.
func (w *writers) add(s *sink) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready = append(w.ready, s)
	if w.working < runtime.GOMAXPROCS(0) {
		w.working++
		go w.work()
	}
}

// work flushes sinks until none is ready.
func (w *writers) work() {
	var own writer
	for {
		w.mu.Lock()
		if len(w.ready) == 0 {
			w.ready = nil
			w.working--
			w.mu.Unlock()
			return
		}
		s := w.ready[0]
		w.ready[0] = nil
		w.ready = w.ready[1:]
		w.mu.Unlock()
		s.flush(&own)
	}
}

// alone runs fn, which waits for a slow reader.
func (w *writers) alone(fn func()) {
	w.mu.Lock()
	w.slow++
	w.mu.Unlock()
	go func() {
		fn()
		w.mu.Lock()
		w.slow--
		w.mu.Unlock()
	}()
}

func (w *writers) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.working+w.slow == 0
}

// CloseStreams ends all streams and waits until their readers are told, or ctx ends.
func (a *API) CloseStreams(ctx context.Context) {
	a.shard.Hub().Close()
	for !a.writers.idle() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}
