package directory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

// The kinds of token.
const (
	Personal = "personal" // a person's; holds its own scopes
	Access   = "access"   // an installed app's; the app's permissions are its scopes
	Refresh  = "refresh"  // buys the next pair
	Session  = "session"  // a person's who signed in
)

// The lives of tokens (reference 6.2).
const (
	AccessLife  = 24 * time.Hour
	RefreshLife = 30 * 24 * time.Hour
)

// Token is what is kept of a token; the token itself is not.
type Token struct {
	ID           id.Token        `json:"id"`
	Kind         string          `json:"kind"`
	Name         string          `json:"name,omitempty"`
	InstalledApp id.InstalledApp `json:"installedAppId,omitzero"`
	Account      id.Account      `json:"accountId,omitzero"` // whose it is; zero is the server's owner, or an app
	// Family is shared by all tokens that follow from one grant, however often they are refreshed.
	Family id.Token `json:"family,omitzero"`
	// Spent says that a refresh token was redeemed. It is kept so that who brings it again is noticed.
	Spent   bool      `json:"spent,omitempty"`
	Scopes  scope.Set `json:"scopes,omitempty"` // of a personal token
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero never
}

func (t *Token) expired(now time.Time) bool { return !t.Expires.IsZero() && now.After(t.Expires) }

// hash is the form in which secrets are kept.
func hash(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

func newSecret() string { return rand.Text() + rand.Text() }

// CreatePersonal makes a personal access token with the scopes, all that the caller holds if
// none are given, good for life or for ever if that is 0.
func (d *Directory) CreatePersonal(ctx context.Context, p scope.Principal, name string, scopes scope.Set, life time.Duration) (token string, t *Token, err error) {
	if len(scopes) == 0 {
		scopes = p.Scopes
	}
	if p.IsApp() {
		return "", nil, problem.New(problem.Denied, "An installed app cannot make personal access tokens.")
	}
	for _, s := range scopes {
		if err := p.Require(s); err != nil {
			return "", nil, err
		}
	}
	t = &Token{ID: id.New[id.Token](), Kind: Personal, Name: name, Account: p.Account, Scopes: scopes, Created: time.Now().UTC()}
	if life > 0 {
		t.Expires = t.Created.Add(life)
	}
	token = id.New[id.Token]().String()
	return token, t, d.putTokens(ctx, map[string]*Token{hash(token): t})
}

// MayKeepTokens reports that the principal may not make, list and revoke personal access
// tokens: an installed app, or a token without the server that stands for no account.
func MayKeepTokens(p scope.Principal) error {
	if !p.IsApp() && !p.Account.IsZero() {
		return nil // those of the account
	}
	return p.Require("w:hark")
}

// Personals returns the personal access tokens, oldest first; of an account its own.
func (d *Directory) Personals(p scope.Principal) ([]*Token, error) {
	if err := MayKeepTokens(p); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var list []*Token
	for _, t := range d.tokens {
		if t.Kind == Personal && (p.Account.IsZero() || t.Account == p.Account) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *Token) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// Revoke forgets a personal access token.
func (d *Directory) Revoke(ctx context.Context, p scope.Principal, token id.Token) error {
	if err := MayKeepTokens(p); err != nil {
		return err
	}
	n, err := d.forget(ctx, false, func(t *Token) bool {
		return t.ID == token && t.Kind == Personal && (p.Account.IsZero() || t.Account == p.Account)
	})
	if err == nil && n == 0 {
		return problem.New(problem.NotFound, "There is no personal access token with the id %s.", token).At("tokenId")
	}
	return err
}

// Pair is an installed app's tokens.
type Pair struct {
	Access, Refresh string
	Expires         time.Time // of Access
	Family          id.Token
}

// IssuePair makes an access and a refresh token for the installed app, the first of their family.
func (d *Directory) IssuePair(ctx context.Context, app id.InstalledApp) (Pair, error) {
	pair, tokens := newPair(Token{InstalledApp: app, Family: id.New[id.Token]()})
	return pair, d.putTokens(ctx, tokens)
}

// newPair makes a pair for whom the token says.
func newPair(of Token) (Pair, map[string]*Token) {
	now := time.Now().UTC()
	pair := Pair{Access: id.New[id.Token]().String(), Refresh: id.New[id.Token]().String(), Expires: now.Add(AccessLife), Family: of.Family}
	of.Spent = false
	access, refresh := of, of
	access.ID, access.Kind, access.Created, access.Expires = id.New[id.Token](), Access, now, pair.Expires
	refresh.ID, refresh.Kind, refresh.Created, refresh.Expires = id.New[id.Token](), Refresh, now, now.Add(RefreshLife)
	return pair, map[string]*Token{hash(pair.Access): &access, hash(pair.Refresh): &refresh}
}

// Redeem replaces the pair of a refresh token, which works once, by a new one. May reports
// whether the caller may act for the token. One that was redeemed before is in wrong hands, or
// was: then all tokens of its family are revoked. The error is for the caller to read.
func (d *Directory) Redeem(ctx context.Context, refresh string, may func(*Token) bool) (*Token, Pair, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.RLock()
	old, ok := d.tokens[hash(refresh)]
	d.mu.RUnlock()
	switch {
	case !ok || old.Kind != Refresh:
		return nil, Pair{}, problem.New(problem.Invalid, "The refresh token is not known here. Each works once: use the one that came with the last answer.")
	case old.expired(time.Now()):
		return nil, Pair{}, problem.New(problem.Invalid, "The refresh token expired at %s. The user has to authorise or install the app again.", old.Expires.UTC().Format(time.RFC3339))
	case !may(old):
		return nil, Pair{}, problem.New(problem.Invalid, "The refresh token belongs to another app's client.")
	case old.Spent:
		n, err := d.RevokeFamily(ctx, old.Family)
		d.log.Warn("a refresh token was used twice, so all tokens that follow from its grant are revoked", "installedApp", old.InstalledApp, "name", old.Name, "revoked", n)
		if err != nil {
			return nil, Pair{}, err
		}
		return nil, Pair{}, problem.New(problem.Invalid, "The refresh token was used before. Each works once, so somebody else may have it: all tokens of this authorisation are revoked, "+
			"and the user has to authorise or install the app again.")
	}
	spent := *old
	spent.Spent = true
	pair, tokens := newPair(spent)
	tokens[hash(refresh)] = &spent
	var writes []records.Write
	for h, t := range tokens {
		writes = append(writes, records.Write{Kind: kindToken, ID: h, Value: t})
	}
	d.mu.RLock()
	var dead []string
	for h, t := range d.tokens {
		if t.Family == old.Family && t.Kind == Access {
			dead = append(dead, h)
			writes = append(writes, records.Write{Kind: kindToken, ID: h})
		}
	}
	d.mu.RUnlock()
	if err := d.records.Write(ctx, writes...); err != nil {
		return nil, Pair{}, unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range dead {
		delete(d.tokens, h)
	}
	maps.Copy(d.tokens, tokens)
	return old, pair, nil
}

// RevokeFamily forgets all tokens that follow from one grant, and returns how many.
func (d *Directory) RevokeFamily(ctx context.Context, family id.Token) (int, error) {
	return d.forget(ctx, false, func(t *Token) bool { return !family.IsZero() && t.Family == family })
}

// Lookup returns what is kept of a token that is good now, of whatever kind.
func (d *Directory) Lookup(token string, now time.Time) (*Token, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	t, ok := d.tokens[hash(token)]
	return t, ok && !t.expired(now) && !t.Spent
}

// ForgetTokensOf forgets all tokens of an installed app that is gone, and for which they are good for
// nothing.
func (d *Directory) ForgetTokensOf(ctx context.Context, app id.InstalledApp) error {
	_, err := d.forget(ctx, true, func(t *Token) bool { return t.InstalledApp == app })
	return err
}

// ForgetExpired forgets tokens that nobody can use any more.
func (d *Directory) ForgetExpired(ctx context.Context, now time.Time) error {
	_, err := d.forget(ctx, true, func(t *Token) bool { return t.expired(now) })
	return err
}

// forget forgets some tokens; brief says that a copy of one would be good for nothing.
func (d *Directory) forget(ctx context.Context, brief bool, which func(*Token) bool) (count int, err error) {
	var writes []records.Write
	d.mu.RLock()
	for h, t := range d.tokens {
		if which(t) {
			writes = append(writes, records.Write{Kind: kindToken, ID: h, Brief: brief})
		}
	}
	d.mu.RUnlock()
	if err := d.records.Write(ctx, writes...); err != nil {
		return 0, unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range writes {
		delete(d.tokens, w.ID)
	}
	return len(writes), nil
}

func (d *Directory) putTokens(ctx context.Context, tokens map[string]*Token) error {
	var writes []records.Write
	for h, t := range tokens {
		writes = append(writes, records.Write{Kind: kindToken, ID: h, Value: t})
	}
	if err := d.records.Write(ctx, writes...); err != nil {
		return unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.Copy(d.tokens, tokens)
	return nil
}

// Token returns what a bearer token is good for. Installed lists the installed apps; it is
// asked once after a start, so that tokens of events sent before it stay good.
func (d *Directory) Token(bearer string, now time.Time, installed func() []id.InstalledApp) (*Token, error) {
	d.mu.RLock()
	t, ok := d.tokens[hash(bearer)]
	d.mu.RUnlock()
	if !ok {
		t, ok = d.events.find(bearer, now, installed)
	}
	switch {
	case !ok:
		return nil, problem.New(problem.Unauthenticated, "The access token is not known here: it was revoked, its app was removed, or it belongs to another server.")
	case t.expired(now):
		return nil, problem.New(problem.Unauthenticated, "The access token expired at %s; refresh it or make a new one.", t.Expires.UTC().Format(time.RFC3339))
	case t.Kind == Refresh:
		return nil, problem.New(problem.Unauthenticated, "This is a refresh token. Redeem it for an access token first.")
	}
	return t, nil
}

// EventToken returns the access token that an EVENT carries for the installed app. It is
// good for five minutes at least. Tokens of events are not stored: each is derived from a
// secret, the app and the time, so that a delivery writes nothing.
func (d *Directory) EventToken(app id.InstalledApp, now time.Time) string {
	return d.events.mint(app, now)
}

// eventWindow is how long the same event token is handed out; it stays good for one more.
const eventWindow = 5 * time.Minute

type eventTokens struct {
	secret []byte

	mu     sync.Mutex
	tokens map[string]*Token // by token; those that expired go with each new window
	newest int64             // the newest window in tokens
	filled int64             // the window for which all installed apps' tokens are in tokens
}

func (e *eventTokens) derive(app id.InstalledApp, window int64) string {
	mac := hmac.New(sha256.New, e.secret)
	mac.Write(app[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(window)))
	return id.Shape[id.Token]([16]byte(mac.Sum(nil)[:16])).String()
}

func window(now time.Time) int64 { return now.UnixNano() / int64(eventWindow) }

func windowStart(w int64) time.Time { return time.Unix(0, w*int64(eventWindow)).UTC() }

func (e *eventTokens) mint(app id.InstalledApp, now time.Time) string {
	w := window(now)
	token := e.derive(app, w)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.add(token, app, w)
	return token
}

// add remembers the token; the caller holds mu.
func (e *eventTokens) add(token string, app id.InstalledApp, w int64) {
	if e.tokens == nil {
		e.tokens = map[string]*Token{}
	}
	if w > e.newest {
		e.newest = w
		for k, t := range e.tokens {
			if t.expired(windowStart(w)) {
				delete(e.tokens, k)
			}
		}
	}
	if _, ok := e.tokens[token]; !ok {
		start := windowStart(w)
		e.tokens[token] = &Token{Kind: Access, InstalledApp: app, Created: start, Expires: start.Add(2 * eventWindow)}
	}
}

func (e *eventTokens) find(token string, now time.Time, installed func() []id.InstalledApp) (*Token, bool) {
	token = strings.ToLower(token)
	w := window(now)
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, ok := e.tokens[token]; ok {
		return t, true
	}
	if e.filled == w {
		return nil, false
	}
	for _, app := range installed() {
		e.add(e.derive(app, w-1), app, w-1)
		e.add(e.derive(app, w), app, w)
	}
	e.filled = w
	t, ok := e.tokens[token]
	return t, ok
}

// ForgetEventTokens makes the event tokens of an installed app worthless.
func (d *Directory) ForgetEventTokens(app id.InstalledApp) {
	d.events.mu.Lock()
	defer d.events.mu.Unlock()
	for k, t := range d.events.tokens {
		if t.InstalledApp == app {
			delete(d.events.tokens, k)
		}
	}
}
