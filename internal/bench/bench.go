// Package bench measures a hark on the machine that it runs on. Each figure stands beside the
// limit that it runs into, measured in the same run: machines differ, and are noisy; ratios say
// more. Clients and receivers share the machine with the hark, as the limits do.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"hark/internal/process"
)

// Config says what is measured.
type Config struct {
	Binary        string        // a hark
	Dir           string        // an empty directory for data
	For           time.Duration // how long each measurement takes, about
	Only          []string      // names of [Names]; none for all that are not as long as a soak
	Subscriptions int           // that a start reads
	Soak          time.Duration // how long the soak takes
	Out           io.Writer     // what is going on, a line each
}

// Figure is one thing measured.
type Figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Limit  string  `json:"limit,omitempty"`  // the name of the figure that bounds it
	Ratio  float64 `json:"ratio,omitempty"`  // of the limit that it reaches
	Goal   string  `json:"goal,omitempty"`   // on a machine with 2 processors
	Missed bool    `json:"missed,omitzero"`  // that goal
	Detail string  `json:"detail,omitempty"` // how it came about
}

// Report is what was measured where.
type Report struct {
	Time       time.Time `json:"time"`
	System     string    `json:"system"`
	Processors int       `json:"processors"`
	Figures    []Figure  `json:"figures"`
}

// JSON returns the report for machines.
func (r *Report) JSON() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

// Print writes the report as a table.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%s, %d processors\n\n", r.System, r.Processors)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tfigure\tof its limit\tgoal with 2 processors\t")
	for _, f := range r.Figures {
		ratio, goal := "", f.Goal
		if f.Limit != "" {
			ratio = fmt.Sprintf("%.2f of %s", f.Ratio, f.Limit)
		}
		if f.Missed {
			goal += ", missed"
		}
		fmt.Fprintf(t, "%s\t%s %s\t%s\t%s\t\n", f.Name, number(f.Value), f.Unit, ratio, goal)
	}
	t.Flush() // the table is for people; who cannot be written to reads nothing
}

// number writes a figure with as many digits as say something.
func number(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.3g", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// lab is a run of measurements.
type lab struct {
	Config
	report Report
}

// measurements are what there is, in the order in which they are taken.
var measurements = []struct {
	name string
	take func(*lab, context.Context) error
}{
	{"limits", (*lab).limits},
	{"ingest", (*lab).ingest},
	{"delivery", (*lab).delivery},
	{"latency", (*lab).latency},
	{"idle", (*lab).idle},
	{"start", (*lab).start},
	{"soak", (*lab).soak},
}

// Names are the names of the measurements.
func Names() (names []string) {
	for _, m := range measurements {
		names = append(names, m.name)
	}
	return names
}

// Run measures. Limits always are, since figures are held against them.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	l := &lab{Config: cfg, report: Report{Time: time.Now().UTC(), System: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU()}}
	for _, only := range cfg.Only {
		if !slices.Contains(Names(), only) {
			return nil, fmt.Errorf("%q is not measured; what is: %s", only, strings.Join(Names(), ", "))
		}
	}
	for _, m := range measurements {
		if m.name != "limits" && !slices.Contains(cfg.Only, m.name) && (len(cfg.Only) > 0 || m.name == "soak") {
			continue
		}
		fmt.Fprintf(cfg.Out, "%s  %s\n", time.Now().Format(time.TimeOnly), m.name) // for people
		if err := m.take(l, ctx); err != nil {
			return nil, fmt.Errorf("measure %s: %w", m.name, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return &l.report, nil
}

// note adds a figure, held against its limit.
func (l *lab) note(f Figure) {
	if f.Limit != "" {
		f.Ratio = f.Value / l.value(f.Limit)
	}
	l.report.Figures = append(l.report.Figures, f)
}

// atLeast notes a figure that should not be less.
func (l *lab) atLeast(goal float64, f Figure) {
	f.Goal, f.Missed = "at least "+number(goal)+" "+f.Unit, f.Value < goal
	l.note(f)
}

// atMost notes a figure that should not be more.
func (l *lab) atMost(goal float64, f Figure) {
	f.Goal, f.Missed = "at most "+number(goal)+" "+f.Unit, f.Value > goal
	l.note(f)
}

// ofLimit notes a figure that should reach a part of its limit.
func (l *lab) ofLimit(part float64, f Figure) {
	f.Goal = fmt.Sprintf("at least %.2f of its limit", part)
	f.Missed = f.Value < part*l.value(f.Limit)
	l.note(f)
}

// value returns a figure that was noted.
func (l *lab) value(name string) float64 {
	for _, f := range l.report.Figures {
		if f.Name == name {
			return f.Value
		}
	}
	return 0
}

// hark starts one with a demo home on its own data.
func (l *lab) hark(ctx context.Context, name string) (*process.Hark, error) {
	return process.Start(ctx, l.Binary, "dev", "--listen", "127.0.0.1:0", "--data", filepath.Join(l.Dir, name), "--log-level", "error")
}

// end stops a hark.
func end(h *process.Hark) { h.End(syscall.SIGTERM) }

// rate runs fn in so many goroutines for a while, and returns how often a second it ended. The
// first error ends it.
func rate(ctx context.Context, workers int, d time.Duration, fn func(worker int) error) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	counts := make(chan int, workers)
	failed := make(chan error, workers)
	started := time.Now()
	for w := range workers {
		go func() {
			n := 0
			var err error
			for ctx.Err() == nil && err == nil {
				if err = fn(w); err == nil {
					n++
				}
			}
			failed <- err
			counts <- n
			if err != nil {
				cancel()
			}
		}()
	}
	total := 0
	var first error
	for range workers {
		if err := <-failed; err != nil && first == nil {
			first = err
		}
		total += <-counts
	}
	return float64(total) / time.Since(started).Seconds(), first
}
