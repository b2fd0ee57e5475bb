package delivery

import (
	"time"

	"hark/internal/telemetry"
)

// Observe fills in how deliveries stand.
func (d *Dispatcher) Observe(st *telemetry.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, c := range d.cursors {
		st.Queued += len(c.queue)
		if !c.behind || c.running {
			st.Delivering++
		} else {
			st.Waiting++
		}
		if c.behind {
			st.OldestBehind = max(st.OldestBehind, now.Sub(c.since))
		}
	}
	for _, e := range d.endpoints {
		if e.isDown() {
			st.EndpointsDown++
		}
	}
	for _, refused := range d.refused {
		waiting, dead := refused.count()
		st.Refused += waiting
		st.DeadLetters += dead
	}
}
