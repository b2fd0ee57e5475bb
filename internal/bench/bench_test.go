package bench

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestGoals(t *testing.T) {
	t.Parallel()
	l := &lab{}
	l.note(Figure{Name: "limit", Value: 1000})
	l.ofLimit(0.5, Figure{Name: "reached", Value: 500, Limit: "limit"})
	l.ofLimit(0.5, Figure{Name: "not reached", Value: 499, Limit: "limit"})
	l.atLeast(10, Figure{Name: "enough", Value: 10})
	l.atLeast(10, Figure{Name: "too little", Value: 9})
	l.atMost(10, Figure{Name: "few enough", Value: 10})
	l.atMost(10, Figure{Name: "too much", Value: 11})
	for name, missed := range map[string]bool{"reached": false, "not reached": true, "enough": false, "too little": true, "few enough": false, "too much": true} {
		found := false
		for _, f := range l.report.Figures {
			if f.Name == name {
				if found = true; f.Missed != missed {
					t.Errorf("%s: missed is %v", name, f.Missed)
				}
			}
		}
		if !found {
			t.Errorf("%s is not in the report", name)
		}
	}
	if r := l.report.Figures[1].Ratio; r != 0.5 {
		t.Errorf("the ratio is %v", r)
	}
	var table strings.Builder
	l.report.Print(&table)
	for _, want := range []string{"1,000", "0.50 of limit", "at least 10 , missed"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, table.String())
		}
	}
	b, err := l.report.JSON()
	var back Report
	if err != nil || json.Unmarshal(b, &back) != nil || len(back.Figures) != len(l.report.Figures) {
		t.Errorf("the report as JSON is %s, %v", b, err)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0.1234: "0.123", 42.19: "42.2", 100: "100", 1234.5: "1,234", 1234567: "1,234,567"} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestRateEndsWithTheFirstError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if _, err := rate(t.Context(), 4, time.Minute, func(worker int) error {
		if worker == 2 {
			return broken
		}
		time.Sleep(time.Millisecond)
		return nil
	}); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

func TestUnknownMeasurements(t *testing.T) {
	t.Parallel()
	if _, err := Run(context.Background(), Config{Only: []string{"beauty"}}); err == nil || !strings.Contains(err.Error(), "latency") {
		t.Errorf("the refusal is: %v", err)
	}
}
