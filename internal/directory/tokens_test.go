package directory

import (
	"testing"
	"time"

	"hark/internal/id"
)

func TestEventTokens(t *testing.T) {
	t.Parallel()
	app, other := id.New[id.InstalledApp](), id.New[id.InstalledApp]()
	now := windowStart(1000).Add(eventWindow - time.Second) // the end of a window: the worst moment
	e := &eventTokens{secret: []byte("secret")}
	token := e.mint(app, now)
	if again := e.mint(app, now); again != token {
		t.Errorf("the same window gives %s and %s", token, again)
	}
	if e.mint(other, now) == token {
		t.Error("two apps have the same token")
	}
	nobody := func() []id.InstalledApp { return nil }
	valid := func(e *eventTokens, at time.Time, installed func() []id.InstalledApp) bool {
		found, ok := e.find(token, at, installed)
		return ok && found.InstalledApp == app && !found.expired(at)
	}
	if !valid(e, now, nobody) || !valid(e, now.Add(5*time.Minute), nobody) {
		t.Error("the token is not good for five minutes")
	}
	if valid(e, now.Add(11*time.Minute), nobody) {
		t.Error("the token is good for ever")
	}
	restarted := &eventTokens{secret: []byte("secret")}
	if !valid(restarted, now.Add(time.Minute), func() []id.InstalledApp { return []id.InstalledApp{other, app} }) {
		t.Error("the token is not known after a restart")
	}
	if valid(&eventTokens{secret: []byte("another")}, now, func() []id.InstalledApp { return []id.InstalledApp{app} }) {
		t.Error("another server's secret gives the same token")
	}
	if _, err := id.Parse[id.Token](token); err != nil {
		t.Errorf("the token has not the form of a UUID: %v", err)
	}
	for i := range 50 { // windows go by: what has expired is forgotten
		e.mint(app, now.Add(time.Duration(i)*eventWindow))
	}
	if len(e.tokens) > 4 {
		t.Errorf("%d tokens are kept for one app", len(e.tokens))
	}
}
