package directory

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"hark/internal/id"
	"hark/internal/limits"
	"hark/internal/problem"
	"hark/internal/records"
	"hark/internal/scope"
)

// Account is a person who signs in. Whoever owns the data directory needs none.
type Account struct {
	ID       id.Account `json:"accountId"`
	Name     string     `json:"name"`
	Password string     `json:"password,omitempty"` // its argon2id hash; "" cannot sign in by one
	// Issuer and Subject are who the person is to an OpenID Connect provider.
	Issuer  string    `json:"issuer,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Created time.Time `json:"created"`
}

// SessionLife is how long a sign-in lasts.
const SessionLife = 30 * 24 * time.Hour

var accountName = regexp.MustCompile(`^[A-Za-z0-9._@+-]{1,100}$`)

const minPassword, maxPassword = 10, 1000

// Parameters of argon2id: those that OWASP recommends first.
const (
	argonTime    = 2
	argonMemory  = 19 << 10 // KiB
	argonThreads = 1
	argonKey     = 32
)

func hashPassword(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, encode(salt), encode(key))
}

// checkPassword reports whether the password is the one of the hash.
func checkPassword(password, hashed string) bool {
	var version, memory, times, threads int
	parts := strings.Split(hashed, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &times, &threads); err != nil || version != argon2.Version {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return false
	}
	return subtle.ConstantTimeCompare(argon2.IDKey([]byte(password), salt, uint32(times), uint32(memory), uint8(threads), uint32(len(want))), want) == 1
}

// accounts are the people of a server, and who tried to sign in.
type accounts struct {
	byName   map[string]*Account // in lower case; guarded by the directory's mu
	attempts limits.Windows
	hashing  sync.Mutex // one at a time: each takes 19 MiB
}

// nobody has the hash that a password is compared with where there is no account, so that the
// time does not tell.
var nobody = sync.OnceValue(func() string { return hashPassword("nobody") })

// CreateAccount adds a person.
func (d *Directory) CreateAccount(ctx context.Context, p scope.Principal, name, password string) (*Account, error) {
	if err := p.Require("w:hark"); err != nil {
		return nil, err
	}
	if !accountName.MatchString(name) {
		return nil, problem.Field("name", "PatternError", "%.110q is not 1 to 100 of the characters A-Z a-z 0-9 . _ @ + -", name)
	}
	if err := checkLength(password); err != nil {
		return nil, err
	}
	a := &Account{ID: id.New[id.Account](), Name: name, Password: hashPassword(password), Created: time.Now().UTC().Truncate(time.Millisecond)}
	d.writing.Lock()
	defer d.writing.Unlock()
	if _, ok := d.person(name); ok {
		return nil, problem.New(problem.Conflict, "There is an account named %s already.", name).At("name")
	}
	return a, d.putAccount(ctx, a)
}

func checkLength(password string) error {
	if len(password) < minPassword || len(password) > maxPassword {
		return problem.Field("password", "SizeError", "has %d characters; it has %d to %d", len(password), minPassword, maxPassword)
	}
	return nil
}

// person returns the account with the name, in whatever case.
func (d *Directory) person(name string) (*Account, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a, ok := d.people.byName[strings.ToLower(name)]
	return a, ok
}

func (d *Directory) putAccount(ctx context.Context, a *Account) error {
	if err := d.records.Write(ctx, records.Write{Kind: kindPerson, ID: a.ID.String(), Value: a}); err != nil {
		return unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.people.byName[strings.ToLower(a.Name)] = a
	return nil
}

// Accounts returns the people, by name.
func (d *Directory) Accounts(p scope.Principal) ([]*Account, error) {
	if err := p.Require("w:hark"); err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var list []*Account
	for _, a := range d.people.byName {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *Account) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// HasAccounts reports whether anybody can sign in with a password.
func (d *Directory) HasAccounts() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.people.byName) > 0
}

// SetPassword gives an account another password, and ends its sessions.
func (d *Directory) SetPassword(ctx context.Context, p scope.Principal, name, password string) error {
	if err := p.Require("w:hark"); err != nil {
		return err
	}
	if err := checkLength(password); err != nil {
		return err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	old, ok := d.person(name)
	if !ok {
		return noAccount(name)
	}
	a := *old
	a.Password = hashPassword(password)
	if err := d.putAccount(ctx, &a); err != nil {
		return err
	}
	_, err := d.forget(ctx, false, func(t *Token) bool { return t.Kind == Session && t.Account == a.ID })
	return err
}

// DeleteAccount forgets a person with their tokens. Their homes stay, for the server's owner.
func (d *Directory) DeleteAccount(ctx context.Context, p scope.Principal, name string) error {
	if err := p.Require("w:hark"); err != nil {
		return err
	}
	d.writing.Lock()
	defer d.writing.Unlock()
	a, ok := d.person(name)
	if !ok {
		return noAccount(name)
	}
	if _, err := d.forget(ctx, false, func(t *Token) bool { return t.Account == a.ID }); err != nil {
		return err
	}
	if err := d.records.Write(ctx, records.Write{Kind: kindPerson, ID: a.ID.String()}); err != nil {
		return unavailable(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.people.byName, strings.ToLower(a.Name))
	return nil
}

func noAccount(name string) error {
	return problem.New(problem.NotFound, "There is no account named %.110q; `hark account list` names them.", name).At("name")
}

// How often somebody may try to sign in.
var (
	triesOfBoth      = limits.Rate{What: "sign-ins of a name from an address", Calls: 10, Per: 10 * time.Minute}
	triesOfAName     = limits.Rate{What: "sign-ins of a name", Calls: 100, Per: 10 * time.Minute}
	triesOfAnAddress = limits.Rate{What: "sign-ins from an address", Calls: 50, Per: 10 * time.Minute}
)

// SignIn returns the token of a new session. From is where the person is, for the limits.
func (d *Directory) SignIn(ctx context.Context, name, password, from string) (token string, err error) {
	now := time.Now()
	for rate, of := range map[limits.Rate]string{triesOfBoth: strings.ToLower(name) + " " + from, triesOfAName: strings.ToLower(name), triesOfAnAddress: from} {
		if left, wait := d.people.attempts.Count(rate, of, now); left < 0 {
			d.log.Warn("sign-ins are refused for a while: too many tries", "name", name, "from", from, "wait", wait)
			return "", problem.New(problem.TooMany, "Too many tries to sign in; come back in %v.", wait.Round(time.Second))
		}
	}
	a, ok := d.person(name)
	hashed := nobody()
	if ok && a.Password != "" {
		hashed = a.Password
	}
	d.people.hashing.Lock()
	good := len(password) <= maxPassword && checkPassword(password, hashed)
	d.people.hashing.Unlock()
	if !ok || !good {
		d.log.Warn("sign-in refused", "name", name, "from", from)
		return "", problem.New(problem.Unauthenticated, "The name or the password is wrong. `hark account password` sets another.")
	}
	return d.session(ctx, a, from)
}

// session starts a person's session.
func (d *Directory) session(ctx context.Context, a *Account, from string) (token string, err error) {
	now := time.Now().UTC()
	token = newSecret()
	t := &Token{ID: id.New[id.Token](), Kind: Session, Name: a.Name, Account: a.ID, Scopes: scope.Person, Created: now, Expires: now.Add(SessionLife)}
	d.log.Info("signed in", "name", a.Name, "from", from)
	return token, d.putTokens(ctx, map[string]*Token{hash(token): t})
}

// SignInAs returns the token of a new session for whom an OpenID Connect provider vouches. Who
// comes for the first time gets an account, by that name if it is free.
func (d *Directory) SignInAs(ctx context.Context, issuer, subject, name, from string) (token string, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.RLock()
	var a *Account
	for _, other := range d.people.byName {
		if other.Issuer == issuer && other.Subject == subject {
			a = other
		}
	}
	d.mu.RUnlock()
	if a == nil {
		made := &Account{ID: id.New[id.Account](), Name: name, Issuer: issuer, Subject: subject, Created: time.Now().UTC().Truncate(time.Millisecond)}
		if _, taken := d.person(name); taken || !accountName.MatchString(name) {
			made.Name = "person-" + hash(issuer + " " + subject)[:12]
		}
		if err := d.putAccount(ctx, made); err != nil {
			return "", err
		}
		d.log.Info("an account is made for who signs in for the first time", "name", made.Name, "issuer", issuer)
		a = made
	}
	return d.session(ctx, a, from)
}

// SignOut ends a session. A token of another kind stays.
func (d *Directory) SignOut(ctx context.Context, token string) error {
	t, ok := d.Lookup(token, time.Now())
	if !ok || t.Kind != Session {
		return nil
	}
	_, err := d.forget(ctx, false, func(other *Token) bool { return other.ID == t.ID })
	return err
}
