package httpapi

import (
	"log/slog"
	"net/http"
	"strings"

	"hark/internal/problem"
)

// Standby answers for a server that waits to become active: probes, and to everything else that
// the active one, reached at active(), does it.
func Standby(log *slog.Logger, active func() string) http.Handler {
	a := &API{log: log.With("component", "httpapi")}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{API: a, ResponseWriter: w, Request: r}
		if path := strings.TrimPrefix(r.URL.Path, "/v1"); path == "/healthz" || path == "/livez" {
			c.answer(http.StatusOK, map[string]string{"status": "standing by", "active": active()})
			return
		}
		w.Header().Set("Retry-After", "1")
		c.refuse(problem.New(problem.Unavailable, "This hark stands by; the active one is reached at %s. A load balancer that asks for /readyz finds it.", active()))
	})
}
