// Package torture runs a hark, does to it what machines and people do to programs, and holds
// what receivers got against what was acknowledged: nothing is missing, the events of a device are
// in order, and nothing comes twice without a reason. It knows hark from outside alone.
package torture

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"hark/internal/process"
)

// Config says what is tortured, and for how long.
type Config struct {
	Binary string        // a hark
	Dir    string        // an empty directory for its data
	For    time.Duration // how long it is disturbed; the check comes after
	Disk   bool          // also fill its disk and make it read-only: needs the right to mount
	Out    io.Writer     // what happens, a line each
}

// Report is how it ended.
type Report struct {
	Acknowledged int            `json:"acknowledged"`
	Disturbances map[string]int `json:"disturbances"`
	Not          []string       `json:"notDone,omitempty"` // what could not be done here, and why
	Ledger       []Entry        `json:"ledger"`
}

// Problems returns what must not be.
func (r *Report) Problems() (list []string) {
	for _, e := range r.Ledger {
		for _, p := range e.Problems {
			list = append(list, e.Receiver+": "+p)
		}
	}
	return list
}

// Print writes the ledger as a table.
func (r *Report) Print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "receiver\tacknowledged\tmissing\tarrived\tagain\tproblems\t")
	for _, e := range r.Ledger {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t\n", e.Receiver, e.Acknowledged, e.Missing, e.Arrived, e.Again, len(e.Problems))
	}
	t.Flush() // the table is for people; who cannot be written to reads nothing
	fmt.Fprintln(w, "disturbances:", r.Disturbances)
	for _, e := range r.Ledger {
		if len(e.Faults) > 0 {
			fmt.Fprintf(w, "%s: %v\n", e.Receiver, e.Faults)
		}
	}
	for _, n := range r.Not {
		fmt.Fprintln(w, "not done:", n)
	}
	for i, p := range r.Problems() {
		if i == 20 {
			fmt.Fprintln(w, "and more")
			break
		}
		fmt.Fprintln(w, "PROBLEM", p)
	}
}

// devices is how many feed; each alone, so that order is theirs.
const devices = 6

// checkPatience is how long receivers have for what is left, once all is well.
const checkPatience = 3 * time.Minute

// rack is a torture under way.
type rack struct {
	cfg     Config
	disk    *disk // nil without
	report  Report
	hark    atomic.Pointer[process.Hark]
	feeders []*Feeder
	clocks  bool          // hark's clock can be set
	clock   time.Duration // how far it is from the machine's

	steady, moody, many, picky, batches, late *Receiver

	mu           sync.Mutex
	disturbances []Disturbance
}

// Run tortures a hark and returns what the ledger says. It returns an error when it cannot.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	k := &rack{cfg: cfg, report: Report{Disturbances: map[string]int{}}}
	if cfg.Disk {
		var err error
		if k.disk, err = mountDisk(cfg.Dir); err != nil {
			k.report.Not = append(k.report.Not, fmt.Sprintf("full disk, read-only disk: %v", err))
		} else {
			defer k.disk.unmount()
		}
	}
	if err := k.start(ctx); err != nil {
		return nil, err
	}
	defer func() { k.hark.Load().End(syscall.SIGKILL) }()
	if err := k.furnish(); err != nil {
		return nil, err
	}
	defer k.close()
	if err := k.hark.Load().ShiftClock(0); err != nil {
		k.report.Not = append(k.report.Not, fmt.Sprintf("clock jumps: %v", err))
	} else {
		k.clocks = true
	}
	if err := k.torture(ctx); err != nil {
		return nil, fmt.Errorf("%w\nthe end of hark's log:\n%s", err, k.hark.Load().Log)
	}
	k.check(ctx)
	return &k.report, nil
}

func (k *rack) say(format string, args ...any) {
	fmt.Fprintf(k.cfg.Out, "%s  "+format+"\n", append([]any{time.Now().Format(clock)}, args...)...) // for people
}

// start runs a hark on the directory.
func (k *rack) start(ctx context.Context) error {
	p, err := process.Start(ctx, k.cfg.Binary, "dev", "--listen", "127.0.0.1:0", "--data", filepath.Join(k.cfg.Dir, "data"))
	if err != nil {
		return err
	}
	if k.clock != 0 {
		if err := p.ShiftClock(k.clock); err != nil {
			return err
		}
	}
	k.hark.Store(p)
	return nil
}

// furnish makes the devices and the apps.
func (k *rack) furnish() error {
	p := k.hark.Load()
	for i := range devices {
		device, err := p.Meter(fmt.Sprintf("meter %d", i))
		if err != nil {
			return err
		}
		k.feeders = append(k.feeders, &Feeder{Device: device})
	}
	quick := []string{"100ms", "200ms", "400ms", "1s", "1s", "1s", "1s", "2s", "2s", "2s", "5s", "5s", "5s", "10s", "10s", "10s", "10s", "10s", "10s", "10s"}
	for _, r := range []struct {
		name     string
		receiver **Receiver
		installs int
		settings map[string]any
	}{
		{"steady", &k.steady, 1, map[string]any{}},
		{"moody", &k.moody, 1, map[string]any{"timeout": "2s"}},
		{"moody, installed by many", &k.many, 8, map[string]any{"timeout": "2s", "maxEvents": 10, "signatures": []string{"STANDARD_WEBHOOKS"}}},
		{"picky", &k.picky, 1, map[string]any{"retries": quick}},
		{"batches", &k.batches, 1, map[string]any{"maxEvents": 50, "maxDelay": "20ms", "signatures": []string{"ECDSA", "STANDARD_WEBHOOKS"}}},
		{"down until the end", &k.late, 1, map[string]any{"maxEvents": 100}},
	} {
		receiver, err := NewReceiver(r.name, "127.0.0.1")
		if err != nil {
			return err
		}
		*r.receiver = receiver
		app, err := p.Register(fmt.Sprintf("torture-%d", len(k.receivers())), receiver.URL, r.settings)
		if err != nil {
			return err
		}
		for range r.installs {
			installed, err := p.InstallApp(app)
			if err != nil {
				return err
			}
			receiver.Expect(installed)
		}
	}
	k.picky.Picky(20)
	k.late.Down(true)
	return nil
}

func (k *rack) receivers() (list []*Receiver) {
	for _, r := range []*Receiver{k.steady, k.moody, k.many, k.picky, k.batches, k.late} {
		if r != nil {
			list = append(list, r)
		}
	}
	return list
}

func (k *rack) close() {
	for _, r := range k.receivers() {
		r.Close()
	}
}

// torture feeds, and disturbs meanwhile.
func (k *rack) torture(ctx context.Context) error {
	feeding, stop := context.WithTimeout(ctx, k.cfg.For)
	defer stop()
	var wait sync.WaitGroup
	for _, f := range k.feeders {
		wait.Go(func() { f.Feed(feeding, 80*time.Millisecond, k.hark.Load) })
	}
	for _, r := range []*Receiver{k.moody, k.many} {
		wait.Go(func() { changeMoods(feeding, r) })
	}
	err := k.disturb(feeding)
	stop()
	wait.Wait()
	if err != nil || ctx.Err() != nil {
		return err
	}
	// Last, a kill after which nothing is fed: what was acknowledged must come by itself.
	return k.during("SIGKILL at the end", func() error {
		k.hark.Load().End(syscall.SIGKILL)
		return k.start(ctx)
	})
}

// changeMoods lets a receiver behave badly, in all ways, one after the other.
func changeMoods(ctx context.Context, r *Receiver) {
	for i := rand.N(len(moods)); ; i++ {
		for _, m := range []mood{moods[i%len(moods)], {}} {
			r.feel(m)
			select {
			case <-time.After(time.Duration(500+rand.N(1500)) * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

// during notes a disturbance while fn makes it.
func (k *rack) during(what string, fn func() error) error {
	d := Disturbance{What: what, From: time.Now()}
	err := fn()
	d.To = time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.disturbances = append(k.disturbances, d)
	k.report.Disturbances[what]++
	k.say("%s, for %v", what, d.To.Sub(d.From).Round(time.Millisecond))
	return err
}

// disturb does one thing after the other to hark until ctx ends.
func (k *rack) disturb(ctx context.Context) error {
	ways := []func(context.Context) error{k.kill, k.kill, k.restart}
	if process.CanFreeze {
		ways = append(ways, k.freeze)
	}
	if k.clocks {
		ways = append(ways, k.jump)
	}
	if k.disk != nil {
		ways = append(ways, k.fillDisk, k.freezeDisk)
	}
	for i := 0; ; i++ {
		select {
		case <-time.After(time.Duration(300+rand.N(1200)) * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
		way := ways[rand.N(len(ways))]
		if i < len(ways) {
			way = ways[i] // each at least once
		}
		if err := way(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

func (k *rack) kill(ctx context.Context) error {
	return k.during("SIGKILL", func() error {
		k.hark.Load().End(syscall.SIGKILL)
		return k.start(ctx)
	})
}

func (k *rack) restart(ctx context.Context) error {
	return k.during("SIGTERM", func() error {
		k.hark.Load().End(syscall.SIGTERM)
		return k.start(ctx)
	})
}

// freeze stops the process for a while: calls that it was waiting for have ended when it goes on.
func (k *rack) freeze(context.Context) error {
	return k.during("SIGSTOP", func() error {
		p := k.hark.Load()
		p.Freeze()
		time.Sleep(time.Duration(200+rand.N(3000)) * time.Millisecond)
		p.Thaw()
		return nil
	})
}

// jump sets hark's clock, hours ahead or back. That excuses nothing, so it is no disturbance to the
// ledger.
func (k *rack) jump(context.Context) error {
	k.clock = time.Duration(rand.N(7)-3) * time.Hour
	if err := k.hark.Load().ShiftClock(k.clock); err != nil {
		return err
	}
	k.report.Disturbances["clock jump"]++
	k.say("the clock is %v off", k.clock)
	return nil
}

// check waits until all has arrived, and closes the ledgers.
func (k *rack) check(ctx context.Context) {
	for _, r := range k.receivers() {
		r.Down(false)
	}
	deadline := time.Now().Add(checkPatience)
	for _, r := range k.receivers() {
		for r.Missing(k.feeders) > 0 && time.Now().Before(deadline) && ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
		}
	}
	for _, f := range k.feeders {
		k.report.Acknowledged += len(f.Acknowledged())
	}
	for _, r := range k.receivers() {
		k.report.Ledger = append(k.report.Ledger, r.Check(k.feeders, k.disturbances))
	}
	if problems := k.report.Problems(); len(problems) > 0 {
		path := filepath.Join(os.TempDir(), "hark-torture.log")
		if err := os.WriteFile(path, []byte(k.hark.Load().Log.String()), 0o600); err == nil {
			k.say("the end of hark's log is in %s", path)
		}
	}
}
