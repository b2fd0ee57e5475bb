// Package engine is the only code that sees NATS: an embedded JetStream server, or an
// existing server or cluster, behind one type. It offers streams that one writer appends to
// durably and in order, and that many readers read. It knows nothing of what they hold.
package engine

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hark/internal/telemetry"
)

// Config says which engine to use. With a URL it is an existing NATS server or cluster,
// else one embedded in this process that stores in Dir.
type Config struct {
	Dir      string // where the embedded engine stores; needed without a URL
	URL      string // nats://host:port[,nats://host:port...] of an existing engine
	Creds    string // file with NATS user credentials
	CA       string // file with the certificate authority that the server's certificate is checked by
	Cert     string // file with this client's certificate
	Key      string // file with the key of Cert
	Replicas int    // copies of each stream on an existing cluster; 0 means 1
	MinFree  int64  // bytes that stay free where Dir is, see Full; 0 does not look

	Telemetry *telemetry.Telemetry // nil for one that nobody sees
}

// Engine is an open connection to JetStream.
type Engine struct {
	server   *server.Server // nil when the engine exists elsewhere
	conn     *nats.Conn
	js       jetstream.JetStream
	replicas int
	log      *slog.Logger
	tel      *telemetry.Telemetry
	space    space
	broken   atomic.Pointer[string]
}

// readyTimeout bounds the start of the embedded engine, which checks its files first.
const readyTimeout = 60 * time.Second

// Open starts or connects to the engine. The caller closes it.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Engine, error) {
	e := &Engine{replicas: cmp.Or(cfg.Replicas, 1), log: log.With("component", "engine"), tel: cfg.Telemetry}
	if e.tel == nil {
		e.tel = telemetry.New()
	}
	if cfg.URL == "" {
		e.space.dir, e.space.need = cfg.Dir, cfg.MinFree
	}
	if err := e.connect(cfg); err != nil {
		e.Close()
		return nil, err
	}
	js, err := jetstream.New(e.conn)
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("open engine: %w", err)
	}
	e.js = js
	if _, err := js.AccountInfo(ctx); err != nil {
		e.Close()
		return nil, fmt.Errorf("open engine: JetStream does not answer at %s: %w", cmp.Or(cfg.URL, cfg.Dir), err)
	}
	return e, nil
}

func (e *Engine) connect(cfg Config) error {
	options := []nats.Option{nats.Name("hark"), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond)}
	url := cfg.URL
	if url == "" {
		ns, err := e.embed(cfg.Dir)
		if err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(ns))
	}
	if cfg.Creds != "" {
		options = append(options, nats.UserCredentials(cfg.Creds))
	}
	if cfg.CA != "" {
		options = append(options, nats.RootCAs(cfg.CA))
	}
	if cfg.Cert != "" {
		options = append(options, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return fmt.Errorf("connect to NATS at %s: %w", url, err)
	}
	e.conn = conn
	return nil
}

// noLimit lets the embedded engine store what fits on the disk. Its own choice would be three
// quarters of what happens to be free when it starts, and Full looks better.
const noLimit = 1 << 50

// embed starts a server that listens nowhere and fsyncs every write before it answers.
func (e *Engine) embed(dir string) (*server.Server, error) {
	ns, err := server.NewServer(&server.Options{
		ServerName: "hark", DontListen: true, JetStream: true, StoreDir: dir, JetStreamMaxStore: noLimit, SyncAlways: true, NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("start embedded engine in %s: %w", dir, err)
	}
	ns.SetLoggerV2(serverLog{e}, false, false, false)
	e.server = ns
	ns.Start()
	if !ns.ReadyForConnections(readyTimeout) {
		return nil, fmt.Errorf("start embedded engine in %s: not ready after %v", dir, readyTimeout)
	}
	return ns, nil
}

// Close disconnects, and stops the embedded engine after everything is on disk.
func (e *Engine) Close() {
	if e.conn != nil {
		e.conn.Close()
	}
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
}

// Connected reports whether the engine can be reached now.
func (e *Engine) Connected() bool { return e.conn.IsConnected() }

// Broken returns why the embedded engine stores no more, nil while it does. It gives up a stream for
// good when a write fails, as on a full disk, and must be opened anew to go on: see [Engine.HasRoom].
// Streams that it has given up take nothing more.
func (e *Engine) Broken() error {
	if why := e.broken.Load(); why != nil {
		return fmt.Errorf("the engine could not write, and is opened anew once %d MB are free at %s: %s", e.space.least()>>20, e.space.dir, *why)
	}
	return nil
}

// writeFailures are how the server's log says that it has given up a stream; nothing else does.
var writeFailures = []string{"JetStream failed to store a msg", "Critical write error"}

// serverLog passes on what the embedded server says; its notices are our debug lines.
type serverLog struct{ engine *Engine }

func (l serverLog) Noticef(format string, v ...any) { l.engine.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Warnf(format string, v ...any)   { l.engine.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any)  { l.engine.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(string, ...any)           {}
func (l serverLog) Tracef(string, ...any)           {}

func (l serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.engine.log.Error(text)
	if slices.ContainsFunc(writeFailures, func(said string) bool { return strings.Contains(text, said) }) {
		l.engine.broken.CompareAndSwap(nil, &text)
	}
}
