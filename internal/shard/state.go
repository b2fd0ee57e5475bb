package shard

import "hark/internal/telemetry"

// Observe fills in how the shard stands.
func (s *Shard) Observe(st *telemetry.State) {
	s.delivery.Observe(st)
	st.OpenStreams, st.StreamMessages = s.hub.Len(), s.hub.Handed()
	st.JournalPosition, st.DroppedAttempts = s.journal.Committed(), s.attempts.Dropped()
	s.mu.RLock()
	defer s.mu.RUnlock()
	st.Locations, st.Devices, st.InstalledApps, st.Subscriptions = len(s.locations), len(s.devices), len(s.installed), s.index.Len()-len(s.tombstones)
	for _, in := range s.installed {
		if in.app.Paused != nil {
			st.Paused++
		}
	}
}
