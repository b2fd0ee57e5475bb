package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"hark/internal/hark"
)

type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Make a personal access token, whether or not the server is running, and print it. It cannot be shown again."`
	List   tokenList   `cmd:"" help:"List the personal access tokens."`
	Revoke tokenRevoke `cmd:"" help:"Revoke a personal access token."`
}

type tokenCreate struct {
	Name   string        `help:"What the token is for." default:"token"`
	Scopes []string      `help:"What it may do, such as r:devices:*. Default: everything." name:"scope" placeholder:"SCOPE"`
	Life   time.Duration `help:"How long it is good; 0 is for ever." default:"0"`
}

type tokenList struct{}

type tokenRevoke struct {
	ID string `arg:"" help:"The token's id, from hark token list."`
}

// tokenJSON is a token as the server shows it.
type tokenJSON struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Scopes  []string  `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Token   string    `json:"token"`
}

// Run implements the command.
func (t *tokenCreate) Run(in *invocation) error {
	var made tokenJSON
	err := control(in, http.MethodPost, "/hark/v1/tokens", map[string]any{"name": t.Name, "scopes": t.Scopes, "expiresIn": int64(t.Life.Seconds())}, &made)
	if err != nil {
		return err
	}
	fmt.Fprintln(in.stdout, made.Token)
	return nil
}

// Run implements the command.
func (t *tokenList) Run(in *invocation) error {
	var list struct {
		Items []tokenJSON `json:"items"`
	}
	if err := control(in, http.MethodGet, "/hark/v1/tokens", nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(in.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tCREATED\tEXPIRES\tSCOPES")
	for _, t := range list.Items {
		expires := "never"
		if !t.Expires.IsZero() {
			expires = t.Expires.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", t.ID, t.Name, t.Created.Format(time.RFC3339), expires, len(t.Scopes))
	}
	return w.Flush()
}

// Run implements the command.
func (t *tokenRevoke) Run(in *invocation) error {
	return control(in, http.MethodDelete, "/hark/v1/tokens/"+t.ID, nil, nil)
}

// control asks the server that uses the data directory, through its control socket; when
// none is running it starts one for the length of the request.
func control(in *invocation, method, path string, body, answer any) error {
	dir := in.settings.Data
	if dir == "" {
		return errors.New("name the server's data directory with --data DIR; who can write there owns the server")
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	ctx, stop := context.WithCancel(in)
	defer stop()
	err := request(ctx, dir, method, path, body, answer)
	if _, unreachable := errors.AsType[*net.OpError](err); !unreachable {
		return err
	}
	in.settings.Listen = "127.0.0.1:0"
	in.settings.LogLevel = "warn"
	server, err := hark.New(ctx, in.settings, in.settings.Logger(in.stderr), false)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	err = request(ctx, dir, method, path, body, answer)
	stop()
	return errors.Join(err, <-ended)
}

func request(ctx context.Context, dir, method, path string, body, answer any) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", hark.ControlSocket(dir))
	}}}
	defer client.CloseIdleConnections()
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://hark"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var refusal struct {
			Error struct{ Message string }
		}
		if json.Unmarshal(content, &refusal) == nil && refusal.Error.Message != "" {
			return errors.New(refusal.Error.Message)
		}
		return fmt.Errorf("the server answered %s", response.Status)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(content, answer)
}
