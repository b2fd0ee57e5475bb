package engine_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"hark/internal/engine"
	"hark/internal/engine/enginetest"
)

// TestCredentials connects to a server that wants the credentials of an operator's account.
func TestCredentials(t *testing.T) {
	t.Parallel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	identity := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		pair, err := create()
		must(err)
		public, err := pair.PublicKey()
		must(err)
		return pair, public
	}
	operator, operatorID := identity(nkeys.CreateOperator)
	account, accountID := identity(nkeys.CreateAccount)
	_, systemID := identity(nkeys.CreateAccount)
	user, userID := identity(nkeys.CreateUser)
	resolver := new(server.MemAccResolver)
	for _, who := range []string{accountID, systemID} {
		claims := jwt.NewAccountClaims(who)
		if who == accountID {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		token, err := claims.Encode(operator)
		must(err)
		must(resolver.Store(who, token))
	}
	token, err := jwt.NewUserClaims(userID).Encode(account)
	must(err)
	seed, err := user.Seed()
	must(err)
	content, err := jwt.FormatUserConfig(token, seed)
	must(err)
	creds := filepath.Join(t.TempDir(), "hark.creds")
	must(os.WriteFile(creds, content, 0o600))

	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, NoSigs: true, NoLog: true,
		TrustedKeys: []string{operatorID}, AccountResolver: resolver, SystemAccount: systemID,
	})
	must(err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats: not ready")
	}
	if e, err := engine.Open(t.Context(), engine.Config{URL: s.ClientURL()}, slog.New(slog.DiscardHandler)); err == nil {
		e.Close()
		t.Error("it connects without credentials")
	}
	stream := openStream(t, enginetest.Open(t, engine.Config{URL: s.ClientURL(), Creds: creds}))
	defer stream.Close()
	if _, err := stream.AppendWait(t.Context(), engine.Entry{Key: "a", Data: []byte("1")}); err != nil {
		t.Error(err)
	}
}
