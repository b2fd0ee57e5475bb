package directory

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"sync"
	"time"

	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/scope"
)

// codeLife is how long an authorisation code is good for.
const codeLife = 5 * time.Minute

// Grant is what a person agreed to at /oauth/authorize (reference 6.1).
type Grant struct {
	App          id.App
	InstalledApp id.InstalledApp // zero for a client that acts for the person
	Account      id.Account      // whom such a client acts for; zero is the server's owner
	Name         string          // of such a client
	Scopes       scope.Set       // of such a client
	RedirectURI  string
	Challenge    string // PKCE, S256; "" without
}

// grants are the codes that are out. They are in memory only: a person whom a stop surprises
// between two clicks agrees again.
type grants struct {
	mu    sync.Mutex
	codes map[string]*given // by hash
}

type given struct {
	Grant
	expires  time.Time
	redeemed bool
	family   id.Token
}

// NewCode returns a code for the grant, which works once.
func (d *Directory) NewCode(g Grant) string {
	code := newSecret()
	d.grants.mu.Lock()
	defer d.grants.mu.Unlock()
	if d.grants.codes == nil {
		d.grants.codes = map[string]*given{}
	}
	now := time.Now()
	for h, old := range d.grants.codes {
		if now.After(old.expires.Add(AccessLife)) {
			delete(d.grants.codes, h)
		}
	}
	d.grants.codes[hash(code)] = &given{Grant: g, expires: now.Add(codeLife), family: id.New[id.Token]()}
	return code
}

// RedeemCode turns a code into tokens. The error is for the caller to read.
func (d *Directory) RedeemCode(ctx context.Context, code string, app id.App, redirectURI, verifier string) (Grant, Pair, error) {
	no := func(format string, args ...any) (Grant, Pair, error) {
		return Grant{}, Pair{}, problem.New(problem.Invalid, format, args...)
	}
	d.writing.Lock() // or a second use could come between the first and its tokens
	defer d.writing.Unlock()
	d.grants.mu.Lock()
	g := d.grants.codes[hash(code)]
	if g == nil || g.App != app {
		d.grants.mu.Unlock()
		return no("The code is not known here, or was given to another client. A code works once and for %v; send the user to /oauth/authorize again.", codeLife)
	}
	again := g.redeemed
	// Whatever else is wrong, who has the code has shown it: it is spent.
	g.redeemed = true
	d.grants.mu.Unlock()
	switch {
	case again:
		n, err := d.RevokeFamily(ctx, g.family)
		d.log.Warn("an authorisation code was used twice, so the tokens that it was redeemed for are revoked", "installedApp", g.InstalledApp, "name", g.Name, "revoked", n)
		if err != nil {
			return Grant{}, Pair{}, err
		}
		return no("The code was used before. It works once, so somebody else may have it: the tokens that it was redeemed for are revoked.")
	case time.Now().After(g.expires):
		return no("The code has expired; it is good for %v. Send the user to /oauth/authorize again.", codeLife)
	case redirectURI != g.RedirectURI:
		return no("redirect_uri is %.200q, but the code was sent to %q; the two must be the same.", redirectURI, g.RedirectURI)
	case g.Challenge == "" && verifier != "":
		return no("There is a code_verifier, but the request at /oauth/authorize had no code_challenge.")
	case g.Challenge != "" && verifier == "":
		return no("The request at /oauth/authorize had a code_challenge, so a code_verifier is needed.")
	case g.Challenge != "" && subtle.ConstantTimeCompare([]byte(challenge(verifier)), []byte(g.Challenge)) != 1:
		return no("The code_verifier is not the one that the code_challenge was made from.")
	}
	pair, tokens := newPair(Token{InstalledApp: g.InstalledApp, Account: g.Account, Name: g.Name, Scopes: g.Scopes, Family: g.family})
	return g.Grant, pair, d.putTokens(ctx, tokens)
}

// challenge is the S256 challenge of a verifier (RFC 7636, 4.2).
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
