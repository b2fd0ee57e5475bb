// Package enginetest runs a test against every engine that hark can use: the embedded one,
// an existing NATS server, and a cluster of three with three copies of every stream.
package enginetest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"hark/internal/engine"
)

// Each runs the test once for each engine. Open opens it anew each time it is called, on
// the same stored data; what it returns is closed at the end of the test if not before.
func Each(t *testing.T, test func(t *testing.T, open func() *engine.Engine)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		test(t, func() *engine.Engine { return Open(t, engine.Config{Dir: dir}) })
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		url := Server(t)
		test(t, func() *engine.Engine { return Open(t, engine.Config{URL: url}) })
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		url := Cluster(t)
		test(t, func() *engine.Engine { return Open(t, engine.Config{URL: url, Replicas: 3}) })
	})
}

// Open opens the engine for the length of the test.
func Open(tb testing.TB, cfg engine.Config) *engine.Engine {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e, err := engine.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.Close)
	return e
}

// Server starts a NATS server with JetStream for the length of the test and returns its URL.
func Server(tb testing.TB) string {
	tb.Helper()
	return start(tb, &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: tb.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true}).ClientURL()
}

// Restarting is a NATS server that can be stopped and started again on the same data.
type Restarting struct {
	URL string

	tb      testing.TB
	options server.Options
	server  *server.Server
}

// Restartable starts a NATS server that can be stopped and started again.
func Restartable(tb testing.TB) *Restarting {
	tb.Helper()
	r := &Restarting{tb: tb, options: server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: tb.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true}}
	r.Start()
	r.options.Port, r.URL = r.server.Addr().(*net.TCPAddr).Port, r.server.ClientURL()
	tb.Cleanup(func() { r.Stop() })
	return r
}

// Start starts the server.
func (r *Restarting) Start() {
	r.tb.Helper()
	options := r.options
	s, err := server.NewServer(&options)
	if err != nil {
		r.tb.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		r.tb.Fatal("nats: not ready")
	}
	r.server = s
}

// Stop stops the server; its data stay.
func (r *Restarting) Stop() {
	r.server.Shutdown()
	r.server.WaitForShutdown()
}

// Cluster starts three NATS servers that form a JetStream cluster and returns their URLs.
func Cluster(tb testing.TB) string {
	tb.Helper()
	for range 5 { // another program may take a port between finding and using it
		if urls, ok := cluster(tb); ok {
			return urls
		}
	}
	tb.Fatal("no cluster of three could be started")
	return ""
}

func cluster(tb testing.TB) (urls string, ok bool) {
	tb.Helper()
	var servers []*server.Server
	var clients []string
	for _, n := range Nodes(tb) {
		s, ready := tryStart(tb, n.options(), 3*time.Second)
		if !ready {
			return "", false
		}
		servers = append(servers, s)
		clients = append(clients, s.ClientURL())
	}
	for deadline := time.Now().Add(30 * time.Second); !current(servers); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("the cluster has no leader after 30 s")
		}
	}
	return strings.Join(clients, ","), true
}

// Node is one server of a cluster of three.
type Node struct {
	Name     string
	Dir      string
	Host     string // address for clients
	Client   int    // and its port
	Cluster  int    // port of the other servers
	Clusters []int  // those of all
}

// Nodes returns the three of a cluster, which nobody has started yet.
func Nodes(tb testing.TB) []Node {
	tb.Helper()
	const count = 3
	dir := tb.TempDir()
	ports := freePorts(tb, 2*count)
	nodes := make([]Node, count)
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		nodes[i] = Node{name, filepath.Join(dir, name), "127.0.0.1", ports[i], ports[count+i], ports[count:]}
	}
	return nodes
}

func (n Node) options() *server.Options {
	var routes []string
	for _, port := range n.Clusters {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	return &server.Options{
		ServerName: n.Name, Host: n.Host, Port: n.Client, JetStream: true, StoreDir: n.Dir, SyncAlways: true, NoSigs: true, NoLog: true,
		// Clients know the addresses they were given and no others, so that a test can stand between.
		Cluster: server.ClusterOpts{Name: "hark", Host: "127.0.0.1", Port: n.Cluster, NoAdvertise: true},
		Routes:  server.RoutesFromStr(strings.Join(routes, ",")),
	}
}

// Run runs the server until the process is killed: a program that is started for this alone.
func (n Node) Run() error {
	s, err := server.NewServer(n.options())
	if err != nil {
		return err
	}
	s.Start()
	s.WaitForShutdown()
	return nil
}

func current(servers []*server.Server) bool {
	leader := false
	for _, s := range servers {
		leader = leader || s.JetStreamIsLeader()
		if !s.JetStreamIsCurrent() || len(s.JetStreamClusterPeers()) < len(servers) && s.JetStreamIsLeader() {
			return false
		}
	}
	return leader
}

func start(tb testing.TB, options *server.Options) *server.Server {
	tb.Helper()
	s, ready := tryStart(tb, options, 10*time.Second)
	if !ready {
		tb.Fatal("nats: not ready")
	}
	return s
}

func tryStart(tb testing.TB, options *server.Options, patience time.Duration) (s *server.Server, ready bool) {
	tb.Helper()
	s, err := server.NewServer(options)
	if err != nil {
		tb.Fatal(err)
	}
	s.Start()
	tb.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s, s.ReadyForConnections(patience)
}

func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer l.Close() // after all are taken, so that no port comes twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}
