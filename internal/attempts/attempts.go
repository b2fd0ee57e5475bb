// Package attempts keeps a bounded log of the attempts to deliver events: what was sent where,
// what came back, and how long each part took. It is for people who ask; nothing follows from
// it, so writing it never delays a delivery, and what cannot be written is counted and dropped.
package attempts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"hark/internal/engine"
	"hark/internal/id"
)

// The outcomes of an attempt.
const (
	Delivered = "delivered" // answered 2xx
	Unhandled = "unhandled" // answered 422 by a SmartApp, which has no handler
	Refused   = "refused"   // answered another 4xx: about the events, not the endpoint
	Failed    = "failed"    // the endpoint is down
	Withheld  = "withheld"  // not sent: the app lacks the scope
)

// Outcomes are all of them.
var Outcomes = []string{Delivered, Unhandled, Refused, Failed, Withheld}

// Attempt is one attempt to deliver events to an app.
type Attempt struct {
	ID           uint64          `json:"attemptId"`           // its place in the log
	MessageID    string          `json:"messageId,omitempty"` // the same in every attempt at these events
	Time         time.Time       `json:"time"`                // when it began
	InstalledApp id.InstalledApp `json:"installedAppId"`
	App          string          `json:"appName"`
	Events       []Event         `json:"events"`
	Request      string          `json:"request,omitempty"` // method and URL
	Status       int             `json:"status,omitempty"`  // 0 without an answer
	Outcome      string          `json:"outcome"`
	Message      string          `json:"message,omitempty"` // why it was not delivered
	Latency      *Latency        `json:"latency,omitempty"`
	Response     string          `json:"response,omitempty"` // how the answer's body begins
	Replay       string          `json:"replay,omitempty"`   // the id of the replay that it is part of
}

// Event is one event of an attempt.
type Event struct {
	ID           id.Event        `json:"eventId"`
	Position     uint64          `json:"position"`
	Subscription id.Subscription `json:"subscriptionId"`
	Name         string          `json:"subscriptionName"`
	Device       id.Device       `json:"deviceId,omitzero"`
}

// Latency is how long the parts of a call took, in milliseconds. A connection that was open
// already has no name to resolve, and nothing to connect.
type Latency struct {
	DNS       float64 `json:"dnsMs,omitempty"`
	Connect   float64 `json:"connectMs,omitempty"`
	TLS       float64 `json:"tlsMs,omitempty"`
	FirstByte float64 `json:"firstByteMs,omitempty"` // from the request written to the first byte of the answer
	Total     float64 `json:"totalMs"`
}

// Log is open for one process. It is safe for concurrent use.
type Log struct {
	log    *slog.Logger
	stream *engine.Stream

	mu      sync.Mutex
	waiting []*Attempt // not handed to the stream yet
	writing int        // handed to it, not durable yet
	dropped uint64
	closed  bool

	wake chan struct{}
	done chan struct{}
}

// maxWaiting is how many attempts may wait to be written.
const maxWaiting = 20_000

// gather is how long attempts gather before they are written.
const gather = 200 * time.Millisecond

// Open opens the shard's log, which keeps as many bytes as it may.
func Open(ctx context.Context, e *engine.Engine, shard string, maxBytes int64, log *slog.Logger) (*Log, error) {
	s, err := e.OpenStream(ctx, engine.StreamConfig{Name: "HARK_" + strings.ToUpper(shard) + "_ATTEMPTS", Prefix: "hark." + shard + ".attempts", MaxBytes: maxBytes})
	if err != nil {
		return nil, fmt.Errorf("open log of attempts: %w", err)
	}
	l := &Log{log: log.With("component", "attempts"), stream: s, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go l.write()
	return l, nil
}

// Close writes what waits.
func (l *Log) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	<-l.done
	l.stream.Close()
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Add notes an attempt, which must not change any more. It never waits.
func (l *Log) Add(a *Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.waiting)+l.writing >= maxWaiting {
		l.dropped++
		return
	}
	l.waiting = append(l.waiting, a)
	if len(l.waiting) == 1 {
		l.signal()
	}
}

// Dropped returns how many attempts could not be noted since the start.
func (l *Log) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// write hands over what gathers, a batch at a time.
func (l *Log) write() {
	defer close(l.done)
	for range l.wake {
		l.mu.Lock()
		closed := l.closed
		l.mu.Unlock()
		if !closed {
			time.Sleep(gather)
		}
		for l.writeBatch() {
		}
		if closed {
			return
		}
	}
}

// writeBatch hands over one batch, and reports whether there was one.
func (l *Log) writeBatch() bool {
	l.mu.Lock()
	n := min(len(l.waiting), maxBatch)
	batch := l.waiting[:n:n]
	l.waiting = slices.Clone(l.waiting[n:])
	l.writing += n
	l.mu.Unlock()
	if n == 0 {
		return false
	}
	entries := pack(batch)
	done := func(err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.writing -= n; err != nil {
			l.dropped += uint64(n)
		}
	}
	if _, err := l.stream.Append(entries, true, done); err != nil {
		done(err)
		l.log.Warn("attempts could not be noted", "count", n, "err", err)
	}
	return true
}

// An entry of the stream holds several attempts at deliveries to one app, compressed: what an entry
// costs is itself and its bytes, and attempts are much alike. So attempts of several apps that ended
// within one gathering are not in order.
const (
	maxBatch   = engine.MaxAppend // attempts handed over at once, in as many entries at most
	entryBytes = 64 << 10         // of JSON, from which on another entry begins
	maxEntry   = 8 << 20          // more than any entry has
	places     = maxBatch         // ids of attempts for each entry
)

// pack returns the entries that hold the attempts, each app's in order.
func pack(batch []*Attempt) (entries []engine.Entry) {
	open := map[id.InstalledApp]int{} // the entry that takes the app's next
	for _, a := range batch {
		i, ok := open[a.InstalledApp]
		if !ok || len(entries[i].Data) >= entryBytes {
			i = len(entries)
			open[a.InstalledApp] = i
			entries = append(entries, engine.Entry{Key: a.InstalledApp.String(), Data: []byte{'['}})
		} else {
			entries[i].Data = append(entries[i].Data, ',')
		}
		entries[i].Data = a.append(entries[i].Data)
	}
	for i := range entries {
		entries[i].Data = s2.Encode(nil, append(entries[i].Data, ']'))
	}
	return entries
}

// unpack returns the attempts of an entry.
func unpack(m engine.Message) ([]*Attempt, error) {
	var list []*Attempt
	n, err := s2.DecodedLen(m.Data)
	if err == nil && n > maxEntry {
		err = fmt.Errorf("it has %d bytes", n)
	}
	var b []byte
	if err == nil {
		b, err = s2.Decode(nil, m.Data)
	}
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err == nil && slices.Contains(list, nil) {
		err = errors.New("an attempt is null")
	}
	if err != nil {
		return nil, fmt.Errorf("log of attempts, place %d: %w", m.Seq, err)
	}
	for i, a := range list {
		a.ID = m.Seq*places + uint64(i)
	}
	return list, nil
}

// flush waits until what was added before is durable.
func (l *Log) flush(ctx context.Context) error {
	for {
		l.mu.Lock()
		left := len(l.waiting) + l.writing
		l.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Query says which attempts are asked for; what is zero lets all through.
type Query struct {
	InstalledApp id.InstalledApp
	Device       id.Device
	Event        id.Event
	Outcome      string
	Since, Until time.Time
	Before       uint64 // only older ones than this
	After        uint64 // only newer ones than this, oldest first
	Keep         func(*Attempt) bool
}

func (q *Query) wants(a *Attempt) bool {
	if q.Outcome != "" && a.Outcome != q.Outcome || !q.Since.IsZero() && a.Time.Before(q.Since) || !q.Until.IsZero() && a.Time.After(q.Until) ||
		!q.InstalledApp.IsZero() && a.InstalledApp != q.InstalledApp {
		return false
	}
	if !q.Device.IsZero() && !slices.ContainsFunc(a.Events, func(e Event) bool { return e.Device == q.Device }) {
		return false
	}
	if !q.Event.IsZero() && !slices.ContainsFunc(a.Events, func(e Event) bool { return e.ID == q.Event }) {
		return false
	}
	return q.Keep == nil || q.Keep(a)
}

// slack is how much older than those before it an attempt may be: they are noted when they end.
const slack = 2 * time.Minute

// chunk is how many entries are looked at at a time.
const chunk = 200

// Find returns up to limit attempts, newest first; with After, oldest first. When there may be
// more, next is the Before (or After) to go on with, else 0.
func (l *Log) Find(ctx context.Context, q Query, limit int) (found []*Attempt, next uint64, err error) {
	if err := l.flush(ctx); err != nil {
		return nil, 0, err
	}
	if q.After > 0 {
		return l.forward(ctx, q, limit)
	}
	first, err := l.stream.First(ctx)
	if err != nil {
		return nil, 0, err
	}
	before := l.stream.Committed() + 1 // an entry
	if q.Before > 0 {
		before = min(before, q.Before/places+1)
	}
	for before > first {
		from := max(first, before-min(before, chunk))
		messages, _, err := l.stream.Read(ctx, from, l.filter(q), chunk)
		if err != nil {
			return nil, 0, err
		}
		recent := q.Since.IsZero() || len(messages) == 0
		for _, m := range slices.Backward(messages) {
			if m.Seq >= before {
				continue
			}
			list, err := unpack(m)
			if err != nil {
				return nil, 0, err
			}
			for _, a := range slices.Backward(list) {
				recent = recent || a.Time.After(q.Since.Add(-slack))
				if !q.wants(a) || q.Before > 0 && a.ID >= q.Before {
					continue
				}
				if len(found) == limit {
					return found, found[limit-1].ID, nil
				}
				found = append(found, a)
			}
		}
		if before = from; !recent {
			break
		}
	}
	return found, 0, nil
}

func (l *Log) forward(ctx context.Context, q Query, limit int) (found []*Attempt, next uint64, err error) {
	for from, last := q.After/places, l.stream.Committed(); from <= last; {
		messages, after, err := l.stream.Read(ctx, from, l.filter(q), chunk)
		if err != nil {
			return nil, 0, err
		}
		for _, m := range messages {
			list, err := unpack(m)
			if err != nil {
				return nil, 0, err
			}
			for _, a := range list {
				if !q.wants(a) || a.ID <= q.After {
					continue
				}
				if len(found) == limit {
					return found, found[limit-1].ID, nil
				}
				found = append(found, a)
			}
		}
		if after <= from {
			break
		}
		from = after
	}
	return found, 0, nil
}

func (l *Log) filter(q Query) string {
	if q.InstalledApp.IsZero() {
		return ">"
	}
	return q.InstalledApp.String()
}
