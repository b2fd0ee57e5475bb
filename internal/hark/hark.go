// Package hark is the whole program as a value: it builds every part, in order, and owns
// every lifetime. A process can hold two.
package hark

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"hark/internal/appcall"
	"hark/internal/console"
	"hark/internal/directory"
	"hark/internal/engine"
	"hark/internal/httpapi"
	"hark/internal/installer"
	"hark/internal/journal"
	"hark/internal/lifecycle"
	"hark/internal/shard"
	"hark/internal/telemetry"
)

// Server is a running hark.
type Server struct {
	log       *slog.Logger
	cfg       Config
	purpose   Purpose
	baseURL   string
	listener  net.Listener
	secure    net.Listener // by TLS; nil without
	control   net.Listener // nil without a data directory
	tel       *telemetry.Telemetry
	engine    *engine.Engine
	lease     *engine.Lease // nil with the embedded engine, which nobody shares
	directory *directory.Directory
	caller    *appcall.Caller
	shard     *shard.Shard
	lifecycle *lifecycle.Manager
	api       *httpapi.API
	public    front // answers everybody
	owner     front // answers the data directory's owner
	active    atomic.Bool
	undo      []func(context.Context) // in the order of building
}

// drainTimeout bounds how long deliveries under way may take when the server stops. An app
// has ten seconds to answer.
const drainTimeout = 12 * time.Second

// Purpose is what a server is started for.
type Purpose int

// The purposes.
const (
	Serve Purpose = iota
	Demo          // an empty server gets a home, and targets on this machine need no proof
	Admin         // for one request of the command line: nothing is delivered
)

// front is a handler that another can replace while it answers.
type front struct{ atomic.Pointer[http.Handler] }

func (f *front) become(h http.Handler) { f.Store(&h) }

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*f.Load()).ServeHTTP(w, r) }

// New builds a server that listens but does not answer yet: [Server.Run] does. To Serve on an
// engine where another hark is active, it stands by; other purposes are refused then.
func New(ctx context.Context, cfg Config, log *slog.Logger, purpose Purpose) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{log: log, cfg: cfg, purpose: purpose, tel: telemetry.New()}
	s.tel.Observe(s.state)
	if err := s.build(ctx); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// build makes every part, in order, and registers how each is undone the moment it exists.
func (s *Server) build(ctx context.Context) (err error) {
	cfg, log := s.cfg, s.log
	if err := s.occupy(cfg.Data); err != nil {
		return err
	}
	if s.listener, err = listen(cfg.Listen); err != nil {
		return err
	}
	s.later(func(context.Context) { s.listener.Close() })
	if cfg.TLS.TLSListen != "" {
		if err := s.listenTLS(cfg); err != nil {
			return err
		}
	}
	s.baseURL = cfg.PublicURL
	if s.baseURL == "" {
		s.baseURL = "http://" + s.listener.Addr().String()
	}
	if cfg.OTLPEndpoint != "" {
		stop, err := s.tel.Trace(ctx, cfg.OTLPEndpoint, cfg.TracePart, s.baseURL, log)
		if err != nil {
			return err
		}
		s.later(stop)
	}
	how := cfg.engine()
	how.Telemetry = s.tel
	if s.engine, err = engine.Open(ctx, how, log); err != nil {
		return err
	}
	s.later(func(context.Context) { s.engine.Close() })
	if cfg.NATS.URL == "" {
		return s.activate(ctx)
	}
	if s.lease, err = s.engine.Lease(ctx, s.baseURL); err != nil {
		return err
	}
	s.later(s.lease.Release)
	if s.purpose == Serve && !s.lease.Free(ctx) {
		standby := httpapi.Standby(log, s.lease.Holder)
		s.public.become(standby)
		s.owner.become(standby)
		log.Info("standing by: another hark is active, or was a moment ago", "active", s.lease.Holder())
		return nil
	}
	if err := s.lease.Take(ctx, s.purpose == Serve); err != nil {
		return err
	}
	return s.activate(ctx)
}

// may returns why nothing may be sent for now, nil when it may.
func (s *Server) may() error {
	if s.lease == nil {
		return nil
	}
	return s.lease.Valid()
}

// activate builds what works: one hark on an engine at a time.
func (s *Server) activate(ctx context.Context) (err error) {
	cfg, log, purpose := s.cfg, s.log, s.purpose
	defer release()
	type read struct {
		stored *shard.Stored
		err    error
	}
	reading := make(chan read, 1)
	go func() { // beside the directory: both are waiting for the engine most of the time
		stored, err := shard.Read(ctx, s.engine, shard.Config{
			Name: "home", Journal: journal.Config{MaxAge: cfg.Retention, MaxBytes: cfg.RetentionBytes}, Silent: purpose == Admin, Limits: cfg.limits(), AttemptBytes: cfg.AttemptBytes, May: s.may, Telemetry: s.tel,
		}, log)
		reading <- read{stored, err}
	}()
	s.directory, err = directory.Open(ctx, s.engine, log)
	home := <-reading
	if err != nil {
		if home.err == nil {
			home.stored.Close()
		}
		return err
	}
	s.later(func(context.Context) { s.directory.Close() })
	s.directory.Limits = cfg.limits()
	s.caller = appcall.New(s.directory, cfg.egress(purpose), s.tel)
	s.later(func(context.Context) { s.caller.Close() })
	if home.err != nil {
		return home.err
	}
	if s.shard, err = home.stored.Open(ctx, s.directory, s.caller); err != nil {
		return err
	}
	s.later(s.shard.Close)
	policy := ""
	if purpose == Demo {
		policy = lifecycle.ConfirmLoopback
	}
	s.lifecycle = lifecycle.New(ctx, log, s.directory, s.shard, s.caller, s.baseURL, cfg.autoConfirm(policy))
	s.later(func(context.Context) { s.lifecycle.Close() })
	if purpose != Admin {
		s.lifecycle.Start()
	}
	s.api = httpapi.New(httpapi.Config{Log: log, Directory: s.directory, Shard: s.shard, Lifecycle: s.lifecycle, TrustForwarded: cfg.TrustForwarded, PlatformRates: cfg.PlatformLimits, Ready: s.Err, Telemetry: s.tel})
	pages := console.New(log, s.directory, s.shard, s.lifecycle, console.OIDC(cfg.OIDC), s.baseURL)
	mux := http.NewServeMux()
	mux.Handle("/{$}", pages)
	mux.Handle("/console/", pages)
	installer.New(log, s.directory, s.shard, s.lifecycle, s.baseURL).Handle(mux)
	mux.Handle("/", s.api)
	s.public.become(mux)
	s.owner.become(s.api.AsOwner())
	s.active.Store(true)
	if purpose == Demo {
		if err := s.furnish(ctx); err != nil {
			return fmt.Errorf("furnish the demo home: %w", err)
		}
	}
	return nil
}

// release gives back the memory that a start has used up: reading records leaves several times as
// much garbage as they take.
func release() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapSys-m.HeapReleased > worthReleasing {
		debug.FreeOSMemory()
	}
}

// worthReleasing is how much memory is worth a collection, in bytes.
const worthReleasing = 128 << 20

// listenTLS listens where the configuration says, with its certificates.
func (s *Server) listenTLS(cfg Config) error {
	config, err := cfg.certs().TLS()
	if err != nil {
		return err
	}
	l, err := listen(cfg.TLS.TLSListen)
	if err != nil {
		return err
	}
	s.secure = tls.NewListener(l, config)
	s.later(func(context.Context) { s.secure.Close() })
	s.log.Info("answering by HTTPS too", "address", l.Addr())
	return nil
}

func (s *Server) later(undo func(context.Context)) { s.undo = append(s.undo, undo) }

// close undoes what was built, last first.
func (s *Server) close(ctx context.Context) {
	for _, undo := range slices.Backward(s.undo) {
		undo(ctx)
	}
	s.undo = nil
}

// lockName is the file in a data directory that says that a hark uses it.
const lockName = "lock"

// occupy makes the data directory this server's alone, and opens its control socket.
func (s *Server) occupy(dir string) error {
	if dir == "" {
		return nil
	}
	unlock, err := Lock(dir)
	if err != nil {
		return err
	}
	s.later(func(context.Context) { unlock() })
	path := ControlSocket(dir)
	os.Remove(path) // one is left only by a server that was killed
	if s.control, err = net.Listen("unix", path); err != nil {
		s.log.Warn("no control socket, so `hark token` works only while this server is stopped", "err", err)
		return nil
	}
	s.later(func(context.Context) { s.control.Close() })
	return os.Chmod(path, 0o600)
}

// ErrInUse says that another hark uses the data directory.
var ErrInUse = errors.New("another hark uses it")

// Lock makes the data directory the caller's alone until unlock is called, creating it if
// need be.
func Lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	lock := flock.New(filepath.Join(dir, lockName))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data directory %s cannot be written: %w", dir, err)
	}
	if !ok {
		return nil, fmt.Errorf("data directory %s: %w; stop it first, or give this one another --data", dir, ErrInUse)
	}
	probe, err := os.CreateTemp(dir, ".writable-") // a lock can be had where nothing can be written
	if err != nil {
		lock.Unlock() // the process ends
		return nil, fmt.Errorf("data directory %s cannot be written: %w", dir, err)
	}
	probe.Close()
	os.Remove(probe.Name())
	return func() { lock.Unlock() }, nil // the process ends
}

// ControlSocket returns the path of the socket by which the data directory's owner controls
// the server that uses it.
func ControlSocket(dir string) string { return filepath.Join(dir, "control.sock") }

func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use by another program; choose another address with --listen, port 0 takes a free one", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// ErrStartAnew says that a server ended because its engine must be opened anew: another one built
// from the same configuration goes on.
var ErrStartAnew = errors.New("the engine could not write, and starts anew")

// Address returns the address that the server listens on.
func (s *Server) Address() string { return s.listener.Addr().String() }

// BaseURL returns where the server is reached.
func (s *Server) BaseURL() string { return s.baseURL }

// Err returns why the server cannot do its work, nil while it can.
func (s *Server) Err() error {
	if !s.engine.Connected() {
		return errors.New("the engine cannot be reached")
	}
	return errors.Join(s.may(), s.engine.Full(), s.engine.Broken(), s.shard.Err(), s.shard.Stalled(), s.directory.Err(), s.caller.Err())
}

// Active reports whether the server works, and does not stand by. Ask before Run.
func (s *Server) Active() bool { return s.active.Load() }

// state is how everything stands, for the metrics.
func (s *Server) state() telemetry.State {
	st := telemetry.State{Active: s.active.Load(), FreeBytes: -1}
	if st.Active {
		st.Ready, st.FreeBytes = s.Err() == nil, s.engine.Free()
		s.shard.Observe(&st)
	}
	return st
}

// Run answers requests until ctx ends or the server can work no more, then lets requests and
// deliveries under way end, makes durable where everything stands, and closes.
func (s *Server) Run(ctx context.Context) error {
	background := context.WithoutCancel(ctx)
	handler := http.NewServeMux()
	handler.Handle("/", &s.public)
	if s.cfg.Metrics {
		handler.Handle("GET /metrics", s.tel.Handler()) // a hark that stands by has some too
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 3)
	go func() { ended <- server.Serve(s.listener) }()
	if s.secure != nil {
		go func() { ended <- server.Serve(s.secure) }()
	}
	owner := &http.Server{Handler: &s.owner, ReadHeaderTimeout: 10 * time.Second}
	if s.control != nil {
		go func() { ended <- owner.Serve(s.control) }()
	}
	err := s.work(ctx, ended)
	s.log.Info("stopping: requests and deliveries under way end first")
	draining, cancel := context.WithTimeout(background, drainTimeout)
	defer cancel()
	if s.active.Load() {
		s.api.CloseStreams(draining)
	}
	server.Shutdown(draining) // what is still open when draining ends is closed with the process
	owner.Shutdown(draining)
	s.close(draining)
	return err
}

// work stands by until it is this server's turn, then watches over it. It returns when it is time
// to stop, with the reason if that is a fault.
func (s *Server) work(ctx context.Context, ended <-chan error) error {
	if !s.active.Load() {
		waiting, cancel := context.WithCancel(ctx)
		defer cancel()
		taken := make(chan error, 1)
		go func() { taken <- s.lease.Take(waiting, true) }()
		select {
		case err := <-ended:
			cancel()
			<-taken
			return fmt.Errorf("answer requests: %w", err)
		case err := <-taken:
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
		}
		s.log.Info("taking over: the active hark is gone")
		if err := s.activate(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("take over: %w", err)
		}
		s.log.Info("this hark is active now")
	}
	return s.watch(ctx, ended)
}

// streamAge is how long a registered event stream that nobody reads is kept.
const streamAge = 30 * 24 * time.Hour

// watch returns when it is time to stop, with the reason if that is a fault.
func (s *Server) watch(ctx context.Context, ended <-chan error) error {
	var lost <-chan struct{} // never, without a lease
	if s.lease != nil {
		lost = s.lease.Lost()
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	hourly := time.NewTicker(time.Hour)
	defer hourly.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("answer requests: %w", err)
		case <-lost:
			return fmt.Errorf("%w: this one stood still or was cut off for too long. Started again, it stands by", engine.ErrHeld)
		case <-tick.C:
			s.shard.Hub().Beat()
			if err := s.engine.Broken(); err != nil {
				if s.engine.HasRoom() { // it would not start without
					return fmt.Errorf("%w: %w", ErrStartAnew, err)
				}
				continue
			}
			if err := errors.Join(s.shard.Err(), s.directory.Err()); err != nil {
				return fmt.Errorf("this server can take no more events: %w", err)
			}
		case <-hourly.C:
			if err := s.shard.ForgetStreams(ctx, streamAge); err != nil {
				s.log.Error("old event streams could not be forgotten", "err", err)
			}
			if err := s.directory.ForgetExpired(ctx, time.Now()); err != nil {
				s.log.Error("expired tokens could not be deleted", "err", err)
			}
		}
	}
}
