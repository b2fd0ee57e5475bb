package torture

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"hark/internal/process"
)

// Feeder reports the values 1, 2, 3, ... of one device, and keeps those that were acknowledged.
type Feeder struct {
	Device string
	Most   int // values in a request, at most; 0 is 20

	next  int
	mu    sync.Mutex
	acked []int
}

// Feed reports until ctx ends, to the hark that to returns at the moment. Values that were not
// acknowledged may be journalled or not; they are never sent again. Pause is between requests.
func (f *Feeder) Feed(ctx context.Context, pause time.Duration, to func() *process.Hark) {
	for ctx.Err() == nil {
		if !f.feed(to()) {
			pause = max(pause, 5*time.Millisecond) // it is being restarted
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// feed reports a few values in one request.
func (f *Feeder) feed(p *process.Hark) bool {
	if p == nil {
		return false
	}
	var body bytes.Buffer
	var values []int
	for range 1 + rand.N(cmp.Or(f.Most, 20)) {
		f.next++
		values = append(values, f.next)
		fmt.Fprintf(&body, `{"deviceId":%q,"capability":"powerMeter","attribute":"power","value":%d,"unit":"W"}`+"\n", f.Device, f.next)
	}
	status, content, err := p.Try("POST", "/hark/v1/events", body.Bytes())
	var answer struct{ Accepted, Rejected int }
	if err != nil || status != http.StatusOK || json.Unmarshal(content, &answer) != nil || answer.Rejected > 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked = append(f.acked, values...)
	return true
}

// Acknowledged returns the values that were.
func (f *Feeder) Acknowledged() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.acked)
}
