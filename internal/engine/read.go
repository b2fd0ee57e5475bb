package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Read returns up to limit messages from position from on whose key matches the filter, in
// order, and the position after the last one that it looked at. The filter is a key in which
// "*" stands for one part and ">" for the rest; ">" alone is every key. When next is not beyond
// from, the server asked has nothing more: one that lags behind may get it later. Opening marks
// are looked at, and left out.
func (s *Stream) Read(ctx context.Context, from uint64, filter string, limit int) (messages []Message, next uint64, err error) {
	next = max(from, 1)
	if filter != ">" { // with a filter for everything JetStream would count what it filters
		filter = s.cfg.Prefix + "." + filter
	}
	request, err := json.Marshal(map[string]any{"seq": next, "batch": limit, "next_by_subj": filter})
	if err != nil {
		return nil, next, err
	}
	inbox := s.engine.conn.NewRespInbox()
	replies, err := s.engine.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, next, fmt.Errorf("read %s: %w", s.cfg.Name, err)
	}
	defer replies.Unsubscribe()                              // only fails when the connection is gone
	if err := replies.SetPendingLimits(-1, -1); err != nil { // the batch bounds it
		return nil, next, fmt.Errorf("read %s: %w", s.cfg.Name, err)
	}
	if err := s.engine.conn.PublishRequest("$JS.API.DIRECT.GET."+s.cfg.Name, inbox, request); err != nil {
		return nil, next, fmt.Errorf("read %s: %w", s.cfg.Name, err)
	}
	for {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		m, err := replies.NextMsgWithContext(ctx)
		cancel()
		if err != nil {
			return nil, next, fmt.Errorf("read %s: %w", s.cfg.Name, err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			message, err := s.received(m)
			if err != nil {
				return nil, next, err
			}
			next = message.Seq + 1
			if message.Key != openKey {
				messages = append(messages, message)
			}
		case "204", "404": // the end of the batch; nothing there
			return messages, next, nil
		default:
			return nil, next, fmt.Errorf("read %s: the engine answered %s %s", s.cfg.Name, status, m.Header.Get("Description"))
		}
	}
}

func (s *Stream) received(m *nats.Msg) (Message, error) {
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return Message{}, fmt.Errorf("read %s: a message without a sequence: %w", s.cfg.Name, err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return Message{}, fmt.Errorf("read %s: a message without a time: %w", s.cfg.Name, err)
	}
	return Message{Seq: seq, Time: at, Key: strings.TrimPrefix(m.Header.Get("Nats-Subject"), s.cfg.Prefix+"."), Data: m.Data}, nil
}

// Scan calls fn with every message from position from on that was there when the stream was
// opened, in order. It reads ahead while fn works.
func (s *Stream) Scan(ctx context.Context, from uint64, fn func(Message) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []Message, 2)
	failed := make(chan error, 1)
	go func() {
		defer close(batches)
		failed <- s.readAll(ctx, from, batches)
	}()
	for batch := range batches {
		for _, m := range batch {
			if err := fn(m); err != nil {
				return err
			}
		}
	}
	return <-failed
}

// readAll sends what was in the stream when it was opened, from a position on. For so much a
// consumer is made, which costs more than a request, and for each message less.
func (s *Stream) readAll(ctx context.Context, from uint64, batches chan<- []Message) error {
	if from > s.opened {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("scan %s: %w", s.cfg.Name, err) }
	consumer, err := s.engine.js.OrderedConsumer(ctx, s.cfg.Name, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1), InactiveThreshold: scanPatience,
	})
	if err != nil {
		return fail(err)
	}
	reading, err := consumer.Messages(jetstream.PullMaxMessages(scanAhead))
	if err != nil {
		return fail(err)
	}
	defer context.AfterFunc(ctx, reading.Stop)()
	defer reading.Stop()
	batch := make([]Message, 0, scanBatch)
	for last := false; !last; {
		m, err := reading.Next(jetstream.NextMaxWait(scanPatience))
		if err != nil {
			return fail(cmp.Or(ctx.Err(), err))
		}
		at, err := m.Metadata()
		if err != nil {
			return fail(err)
		}
		key := strings.TrimPrefix(m.Subject(), s.cfg.Prefix+".")
		if at.Sequence.Stream <= s.opened && key != openKey {
			batch = append(batch, Message{Seq: at.Sequence.Stream, Time: at.Timestamp, Key: key, Data: m.Data()})
		}
		if last = at.Sequence.Stream >= s.opened; last || len(batch) == scanBatch { // our mark, or that of who came after us
			select {
			case batches <- batch:
			case <-ctx.Done():
				return ctx.Err()
			}
			batch = make([]Message, 0, scanBatch)
		}
	}
	return nil
}

const (
	scanBatch    = 500              // messages that are handed over at once
	scanAhead    = 10_000           // messages that are under way
	scanPatience = 30 * time.Second // for an engine that shows nothing
)

// First returns the position of the oldest message that the stream still has; one more than
// the newest when it is empty.
func (s *Stream) First(ctx context.Context) (uint64, error) {
	stream, err := s.engine.js.Stream(ctx, s.cfg.Name)
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", s.cfg.Name, err)
	}
	return stream.CachedInfo().State.FirstSeq, nil
}
