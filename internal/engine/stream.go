package engine

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// StreamConfig describes a stream.
type StreamConfig struct {
	Name           string        // unique in the engine, of A-Z 0-9 _
	Prefix         string        // every subject is Prefix + "." + a key
	LastPerSubject bool          // keep only the newest entry of each key, for ever
	MaxAge         time.Duration // drop entries older than this; 0 keeps them
	MaxBytes       int64         // drop the oldest entries above this; 0 keeps them
}

// Entry is something to append.
type Entry struct {
	Key  string
	Data []byte
	TTL  time.Duration // forget the entry after so long; 0 never
}

// Message is an appended entry.
type Message struct {
	Seq  uint64
	Time time.Time // when it was appended
	Key  string
	Data []byte
}

// Stream is a durable, ordered list of entries. One Stream value writes at a time: opening
// it elsewhere fences this one, whose appends then fail with [ErrFenced].
type Stream struct {
	engine *Engine
	cfg    StreamConfig
	writer string // on every message; tells our own from another writer's
	opened uint64 // position of our opening mark

	committed atomic.Uint64
	stalled   atomic.Pointer[error] // why the append under way is not acknowledged yet

	stop    context.CancelFunc
	done    chan struct{}
	stopped context.Context

	mu      sync.Mutex
	next    uint64 // position of the next entry to append
	queue   []group
	failure error
	closing bool
	wake    chan struct{}
}

// group is entries that are appended next to each other, and whom to tell.
type group struct {
	entries []Entry
	atomic  bool
	done    func(error)
}

// MaxAppend is the most entries that one Append takes: the size of a JetStream batch.
const MaxAppend = 1000

var (
	// ErrFenced says that another writer has opened the stream.
	ErrFenced = errors.New("another hark has taken over this stream")
	// ErrClosed says that the stream was closed.
	ErrClosed = errors.New("the stream is closed")
)

const (
	openKey      = "open" // the key of opening marks
	writerHeader = "Hark-Writer"

	expectedLastSeq = "Nats-Expected-Last-Sequence"
	batchID         = "Nats-Batch-Id"
	batchSequence   = "Nats-Batch-Sequence"
	batchCommit     = "Nats-Batch-Commit"
	messageTTL      = "Nats-TTL"
)

// OpenStream creates the stream if need be and becomes its writer. It appends an opening
// mark, so that a former writer's next append fails from then on.
func (e *Engine) OpenStream(ctx context.Context, cfg StreamConfig) (*Stream, error) {
	info, err := e.ensure(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", cfg.Name, err)
	}
	s := &Stream{engine: e, cfg: cfg, writer: rand.Text()[:10], next: info.State.LastSeq + 1, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.stopped, s.stop = context.WithCancel(context.WithoutCancel(ctx)) // a request that ends must not stop the writer
	s.committed.Store(info.State.LastSeq)
	go s.write()
	s.opened, err = s.AppendWait(ctx, Entry{Key: openKey, Data: []byte(s.writer)})
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open stream %s: %w", cfg.Name, err)
	}
	return s, nil
}

// noDuplicates is the shortest window in which JetStream looks for messages of the same id. Ours have
// none; a long one would have it look through the newest messages at each start.
const noDuplicates = 100 * time.Millisecond

func (e *Engine) ensure(ctx context.Context, cfg StreamConfig) (*jetstream.StreamInfo, error) {
	want := jetstream.StreamConfig{
		Name: cfg.Name, Subjects: []string{cfg.Prefix + ".>"}, Storage: jetstream.FileStorage, Replicas: e.replicas,
		MaxAge: cfg.MaxAge, MaxBytes: cfg.MaxBytes, AllowDirect: true, Duplicates: noDuplicates, AllowAtomicPublish: true, AllowMsgTTL: cfg.LastPerSubject,
	}
	if cfg.LastPerSubject {
		want.MaxMsgsPerSubject = 1
	}
	stream, err := e.js.CreateOrUpdateStream(ctx, want)
	if err != nil {
		return nil, err
	}
	return stream.Info(ctx)
}

// Close stops the writer after what was appended is durable, or its context ends; then
// nobody waits any more.
func (s *Stream) Close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.signal()
	select {
	case <-s.done:
	case <-time.After(closeTimeout):
		s.stop()
		<-s.done
	}
	s.stop()
}

// closeTimeout bounds how long Close waits for an engine that does not answer.
const closeTimeout = 5 * time.Second

// Committed returns the position up to which everything is durable.
func (s *Stream) Committed() uint64 { return s.committed.Load() }

// Next returns the position that the next appended entry gets.
func (s *Stream) Next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// Err returns why the stream takes no more entries, nil while it does.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// Stalled returns why the append under way is not acknowledged, while it is tried again, and
// nil when nothing stands in the way.
func (s *Stream) Stalled() error {
	if err := s.stalled.Load(); err != nil {
		return fmt.Errorf("append to %s: %w", s.cfg.Name, *err)
	}
	return nil
}

// Append queues the entries next to each other and returns the position of the first.
// Done is called once, with nil when all are durable, from one goroutine and in the order
// of the positions; it must not block. With atomic, either all are appended or none.
func (s *Stream) Append(entries []Entry, atomic bool, done func(error)) (first uint64, err error) {
	if len(entries) == 0 || len(entries) > MaxAppend {
		return 0, fmt.Errorf("append %d entries: it takes 1 to %d", len(entries), MaxAppend)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return 0, s.failure
	}
	if s.closing {
		return 0, ErrClosed
	}
	first = s.next
	s.next += uint64(len(entries))
	s.queue = append(s.queue, group{entries, atomic, done})
	s.signal()
	return first, nil
}

// AppendWait appends the entries, all or none, and waits until they are durable. When ctx
// ends first, they may or may not become so.
func (s *Stream) AppendWait(ctx context.Context, entries ...Entry) (first uint64, err error) {
	result := make(chan error, 1)
	first, err = s.Append(entries, true, func(err error) { result <- err })
	if err != nil {
		return 0, err
	}
	select {
	case err := <-result:
		return first, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write is the writer: while one batch is on its way the next one gathers (group commit).
func (s *Stream) write() {
	defer close(s.done)
	for {
		groups, count, first := s.take()
		if groups == nil {
			return
		}
		err := s.commit(groups, count, first)
		if err == nil {
			s.committed.Store(first + uint64(count) - 1)
		} else {
			s.fail(err)
		}
		for _, g := range groups {
			g.done(err)
		}
	}
}

// take waits for groups, and returns those that fit in one batch and the position of their
// first entry. It returns none when the stream is to stop.
func (s *Stream) take() (groups []group, count int, first uint64) {
	for {
		s.mu.Lock()
		queued := 0
		for _, g := range s.queue {
			queued += len(g.entries)
		}
		n := 0
		for n < len(s.queue) && count+len(s.queue[n].entries) <= MaxAppend {
			count += len(s.queue[n].entries)
			n++
		}
		if n > 0 {
			groups = s.queue[:n:n]
			s.queue = s.queue[n:]
			first = s.next - uint64(queued)
			s.mu.Unlock()
			return groups, count, first
		}
		closing := s.closing
		s.mu.Unlock()
		if closing {
			return nil, 0, 0
		}
		select {
		case <-s.wake:
		case <-s.stopped.Done():
			return nil, 0, 0
		}
	}
}

// fail makes the stream refuse everything from now on and tells those who wait.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	s.failure = err
	s.closing = true
	left := s.queue
	s.queue = nil
	s.mu.Unlock()
	s.engine.log.Error("stream takes no more entries", "stream", s.cfg.Name, "err", err)
	for _, g := range left {
		g.done(err)
	}
}

// batchFrom is the number of entries from which one batch is cheaper than publishing each by
// itself, with an fsync of its own.
const batchFrom = 10

// commit appends the groups, first being the position of their first entry. It tries
// again for as long as the engine does not answer and is not broken: expecting the last sequence makes that
// safe, since what was appended already is recognised by our mark. Nothing is sent before what
// it expects is known to be ours: the position after a new writer's mark would be free for it.
func (s *Stream) commit(groups []group, count int, first uint64) error {
	entries := make([]Entry, 0, count)
	batch := count >= batchFrom
	for _, g := range groups {
		entries = append(entries, g.entries...)
		batch = batch || g.atomic && len(g.entries) > 1
	}
	defer s.stalled.Store(nil)
	tel, started := s.engine.tel, time.Now()
	tel.AppendEntries.WithLabelValues(s.cfg.Name).Observe(float64(count))
	for attempt := 0; len(entries) > 0; {
		n := 1
		if batch {
			n = len(entries)
		}
		err := s.publish(entries[:n], first-1)
		known := err == nil
		if err != nil {
			n, known = s.progress(err, first, n)
		}
		switch {
		case known && n == 0:
			return ErrFenced
		case known:
			entries, first, attempt = entries[n:], first+uint64(n), 0
			continue
		}
		if broken := s.engine.Broken(); broken != nil {
			return fmt.Errorf("append to %s: %w", s.cfg.Name, broken)
		}
		err = s.engine.withSpace(err)
		s.stalled.Store(&err)
		tel.AppendRetries.WithLabelValues(s.cfg.Name).Inc()
		if attempt%20 == 0 {
			s.engine.log.Warn("append not acknowledged, trying again", "stream", s.cfg.Name, "err", err, "attempt", attempt+1)
		}
		select {
		case <-time.After(min(50*time.Millisecond<<min(attempt, 5), time.Second)):
		case <-s.stopped.Done():
			return fmt.Errorf("append to %s: %w", s.cfg.Name, err)
		}
		attempt++
	}
	tel.AppendSeconds.WithLabelValues(s.cfg.Name).Observe(time.Since(started).Seconds())
	return nil
}

// progress returns how many of the count entries from first on the stream turns out to hold
// when it refused to append them. It is not known when the refusal was another.
func (s *Stream) progress(err error, first uint64, count int) (appended int, known bool) {
	wrong, ok := errors.AsType[*wrongLastSeq](err)
	if !ok {
		return 0, false
	}
	if wrong.last < first || wrong.last >= first+uint64(count) {
		return 0, true
	}
	ctx, cancel := context.WithTimeout(s.stopped, requestTimeout)
	defer cancel()
	stream, err := s.engine.js.Stream(ctx, s.cfg.Name)
	if err != nil {
		return 0, false
	}
	m, err := stream.GetMsg(ctx, wrong.last)
	if err != nil {
		return 0, false
	}
	if m.Header.Get(writerHeader) != s.writer {
		return 0, true
	}
	return int(wrong.last - first + 1), true
}

const requestTimeout = 5 * time.Second

// wrongLastSeq is the engine's refusal to append after another sequence than it is at.
type wrongLastSeq struct{ last uint64 }

func (e *wrongLastSeq) Error() string { return fmt.Sprintf("the stream is at %d", e.last) }

func (s *Stream) message(e Entry) *nats.Msg {
	m := &nats.Msg{Subject: s.cfg.Prefix + "." + e.Key, Data: e.Data, Header: nats.Header{writerHeader: {s.writer}}}
	if e.TTL > 0 {
		m.Header[messageTTL] = []string{strconv.Itoa(int(e.TTL.Seconds()))}
	}
	return m
}

// publish publishes the entries after the last position, all or none: as an atomic batch, which
// is one fsync, if there are several.
func (s *Stream) publish(entries []Entry, last uint64) error {
	id := rand.Text()
	for i, e := range entries {
		m := s.message(e)
		if i == 0 {
			m.Header[expectedLastSeq] = []string{strconv.FormatUint(last, 10)}
		}
		if len(entries) > 1 {
			m.Header[batchID] = []string{id}
			m.Header[batchSequence] = []string{strconv.Itoa(i + 1)}
		}
		if i < len(entries)-1 {
			if err := s.engine.conn.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		if len(entries) > 1 {
			m.Header[batchCommit] = []string{"1"}
		}
		reply, err := s.engine.conn.RequestMsg(m, requestTimeout)
		if err != nil {
			return err
		}
		return checkAck(reply)
	}
	return nil
}

// wrongLastSequence is JetStream's code for an unexpected last sequence.
const wrongLastSequence = 10071

func checkAck(reply *nats.Msg) error {
	var ack struct {
		Error *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
		Seq uint64 `json:"seq"`
	}
	if status := reply.Header.Get("Status"); status != "" {
		return fmt.Errorf("the engine answered %s %s", status, reply.Header.Get("Description"))
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return fmt.Errorf("the engine's answer is not understood: %w", err)
	}
	if ack.Error == nil {
		return nil
	}
	if ack.Error.Code == wrongLastSequence {
		_, text, _ := strings.Cut(ack.Error.Description, ": ")
		if last, err := strconv.ParseUint(text, 10, 64); err == nil {
			return &wrongLastSeq{last}
		}
	}
	return fmt.Errorf("the engine refused: %s", ack.Error.Description)
}
