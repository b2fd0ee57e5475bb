package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hark/internal/engine/enginetest"
	"hark/internal/process"
	"hark/internal/torture"
)

// natsVariable makes this test's binary a NATS server, for TestFailover to kill.
const natsVariable = "HARK_E2E_NATS"

func runNATS(node string) error {
	var n enginetest.Node
	if err := json.Unmarshal([]byte(node), &n); err != nil {
		return err
	}
	return n.Run()
}

// startNATS starts a server of a cluster as a process.
func startNATS(t *testing.T, n enginetest.Node) (kill func()) {
	t.Helper()
	b, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), natsVariable+"="+string(b))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(kill)
	return kill
}

// link is where a hark of several runs, and how it is connected.
type link struct {
	run       []string   // what runs a program there; none for right here
	listen    string     // its own address
	nats      []string   // where it finds each NATS server
	apps      string     // where it finds apps
	interrupt func(bool) // lets nothing through between it and NATS, and tells nobody; or all again
}

// links connects so many harks to NATS: by network namespaces if there can be any, else through
// programs that stand between.
func links(t *testing.T, nodes []enginetest.Node, count int) []link {
	t.Helper()
	list, err := namespaces(t, nodes, count)
	if err == nil {
		return list
	}
	t.Logf("without network namespaces: %v", err)
	list = nil
	for range count {
		l := link{listen: "127.0.0.1:0", apps: "127.0.0.1"}
		var wires []*wire
		for _, n := range nodes {
			w := newWire(t, "127.0.0.1:"+strconv.Itoa(n.Client))
			wires, l.nats = append(wires, w), append(l.nats, w.Addr().String())
		}
		l.interrupt = func(is bool) {
			for _, w := range wires {
				w.interrupt(is)
			}
		}
		list = append(list, l)
	}
	return list
}

// member is a hark of several on a cluster, which is started again whenever it ends.
type member struct {
	link
	name  string
	dir   string
	now   atomic.Pointer[process.Hark]
	ended []string
}

// command returns how the member runs a hark with the arguments.
func (m *member) command(binary string, args ...string) []string {
	args = append(args, "--data", m.dir, "--nats-url", "nats://"+strings.Join(m.nats, ",nats://"), "--nats-replicas", "3")
	return slices.Concat(m.run, []string{binary}, args)
}

// keep runs the member's hark, again and again, until ctx ends.
func (m *member) keep(ctx context.Context, binary string) {
	for ctx.Err() == nil {
		command := m.command(binary, "serve", "--listen", m.listen, "--egress", "any")
		p, err := process.Start(ctx, command[0], command[1:]...)
		if err != nil {
			if ctx.Err() == nil {
				m.ended = append(m.ended, err.Error())
			}
			time.Sleep(100 * time.Millisecond)
			continue
		}
		m.now.Store(p)
		select {
		case <-p.Ended():
			m.ended = append(m.ended, p.Log.String())
		case <-ctx.Done():
			p.Thaw()
			p.End(syscall.SIGTERM)
		}
	}
}

func (m *member) ready() bool {
	p := m.now.Load()
	return p != nil && p.Ready()
}

// TestFailover has two harks on a cluster of three NATS servers, kills and freezes the active
// one, kills a NATS server, and cuts the network between, while events are fed. What was
// acknowledged, by whichever of them, arrives in order.
func TestFailover(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	nodes := enginetest.Nodes(t)
	members := []*member{{name: "a", dir: t.TempDir()}, {name: "b", dir: t.TempDir()}}
	for i, l := range links(t, nodes, len(members)) {
		members[i].link = l
	}
	kills := make([]func(), len(nodes))
	for i, n := range nodes {
		kills[i] = startNATS(t, n)
	}
	token := ""
	wait(t, "a token is made: the cluster answers", time.Minute, func() bool {
		command := members[0].command(path, "token", "create")
		out, err := exec.Command(command[0], command[1:]...).Output()
		token = strings.TrimSpace(string(out))
		return err == nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	for _, m := range members {
		running.Go(func() { m.keep(ctx, path) })
	}

	// One of them is active, and known by its probe, as to a load balancer.
	active := func() *member {
		for _, m := range members {
			if m.ready() {
				return m
			}
		}
		return nil
	}
	var chosen atomic.Pointer[process.Hark]
	choose := func() *member {
		m := active()
		if m == nil {
			chosen.Store(nil)
			return nil
		}
		p := *m.now.Load()
		p.Token = token
		chosen.Store(&p)
		return m
	}
	running.Go(func() {
		for ctx.Err() == nil {
			choose()
			time.Sleep(50 * time.Millisecond)
		}
	})
	wait(t, "one is active", time.Minute, func() bool { return chosen.Load() != nil })

	// Two apps, one of which is down until the end, and six devices.
	p := *chosen.Load()
	var location struct{ LocationID string }
	if err := p.Call("POST", "/locations", map[string]any{"name": "Home", "countryCode": "GBR"}, &location); err != nil {
		t.Fatal(err)
	}
	p.LocationID = location.LocationID
	var receivers []*torture.Receiver
	for _, name := range []string{"steady", "down until the end"} {
		r, err := torture.NewReceiver(name, members[0].apps)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		receivers = append(receivers, r)
		installed, err := p.Install(fmt.Sprintf("failover-%d", len(receivers)), r.URL, map[string]any{"maxEvents": 50})
		if err != nil {
			t.Fatal(err)
		}
		r.Expect(installed)
	}
	receivers[1].Down(true)
	var feeders []*torture.Feeder
	for i := range 6 {
		device, err := p.Meter(fmt.Sprintf("meter %d", i))
		if err != nil {
			t.Fatal(err)
		}
		feeders = append(feeders, &torture.Feeder{Device: device})
	}
	feeding, stop := context.WithCancel(ctx)
	var fed sync.WaitGroup
	for _, f := range feeders {
		fed.Go(func() { f.Feed(feeding, 50*time.Millisecond, chosen.Load) })
	}

	var disturbances []torture.Disturbance
	disturb := func(what string, takenOver bool, fn func(*member)) {
		t.Helper()
		var was *member
		wait(t, "one is active before: "+what, time.Minute, func() bool { was = choose(); return was != nil })
		process := was.now.Load()
		d := torture.Disturbance{What: what, From: time.Now()}
		fn(was)
		wait(t, "one is active after: "+what, time.Minute, func() bool {
			m := choose()
			return m != nil && (!takenOver || m.now.Load() != process)
		})
		took := time.Since(d.From)
		if takenOver {
			select { // by its own choice, or by ours
			case <-process.Ended():
			case <-time.After(30 * time.Second):
				t.Errorf("%s: the former active hark does not end", what)
			}
		}
		time.Sleep(time.Second) // so that there is something to lose
		d.To = time.Now()
		disturbances = append(disturbances, d)
		t.Logf("%s  %s: a hark is active %v later", d.To.Format(time.TimeOnly), what, took.Round(time.Millisecond))
	}
	time.Sleep(time.Second)
	disturb("the active hark is killed", true, func(m *member) { m.now.Load().End(syscall.SIGKILL) })
	disturb("the active hark is frozen for 9 s", true, func(m *member) {
		p := m.now.Load()
		p.Freeze()
		time.AfterFunc(9*time.Second, func() { p.Thaw() })
	})
	disturb("the active hark is cut off for 9 s", true, func(m *member) {
		m.interrupt(true)
		time.AfterFunc(9*time.Second, func() { m.interrupt(false) })
	})
	disturb("the active hark is cut off for 2 s", false, func(m *member) {
		m.interrupt(true)
		time.Sleep(2 * time.Second)
		m.interrupt(false)
	})
	for i := range nodes {
		disturb(fmt.Sprintf("the NATS server %s is killed, and back after 3 s", nodes[i].Name), false, func(*member) {
			kills[i]()
			time.Sleep(3 * time.Second)
			kills[i] = startNATS(t, nodes[i])
		})
	}
	stop()
	fed.Wait()
	t.Logf("%s  nothing is fed any more", time.Now().Format(time.TimeOnly))
	receivers[1].Down(false)
	for _, r := range receivers {
		for deadline := time.Now().Add(2 * time.Minute); r.Missing(feeders) > 0 && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
		}
	}
	report := torture.Report{Disturbances: map[string]int{}}
	for _, d := range disturbances {
		report.Disturbances[d.What]++
	}
	for _, f := range feeders {
		report.Acknowledged += len(f.Acknowledged())
	}
	for _, r := range receivers {
		report.Ledger = append(report.Ledger, r.Check(feeders, disturbances))
	}
	t.Logf("%s  all is there", time.Now().Format(time.TimeOnly))
	show(t, &report)
	if report.Acknowledged < 1000 {
		t.Errorf("%d events acknowledged: too few to say anything", report.Acknowledged)
	}
	cancel() // before what they need is gone
	running.Wait()
	if t.Failed() {
		for _, m := range members {
			for _, log := range m.ended {
				t.Logf("the end of a log of %s:\n%s", m.name, log)
			}
		}
	}
}

func wait(t *testing.T, what string, patience time.Duration, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
