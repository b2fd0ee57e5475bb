package shard

import (
	"context"

	"hark/internal/attempts"
	"hark/internal/id"
	"hark/internal/scope"
)

// FindAttempts returns attempts to deliver that the principal may know of: those to installed
// apps that it may read. See [attempts.Log.Find].
func (s *Shard) FindAttempts(ctx context.Context, p scope.Principal, q attempts.Query, limit int) (found []*attempts.Attempt, next uint64, err error) {
	owner := p.Account.IsZero() && p.InstalledApp.IsZero() && p.Require("r:installedapps:*") == nil
	if !q.InstalledApp.IsZero() && !owner {
		if _, err := s.FindInstalled(p, q.InstalledApp, "r"); err != nil {
			return nil, 0, err
		}
	}
	if !owner { // who may see everything sees those to apps that are gone, too
		may := map[id.InstalledApp]bool{}
		q.Keep = func(a *attempts.Attempt) bool {
			allowed, known := may[a.InstalledApp]
			if !known {
				_, err := s.FindInstalled(p, a.InstalledApp, "r")
				allowed = err == nil
				may[a.InstalledApp] = allowed
			}
			return allowed
		}
	}
	return s.attempts.Find(ctx, q, limit)
}
