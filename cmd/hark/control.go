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

	"hark/internal/hark"
)

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
	server, err := hark.New(ctx, in.settings, in.settings.Logger(in.stderr), hark.Admin)
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
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://hark"+path, content)
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answered, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var refusal struct {
			Error struct{ Message string }
		}
		if json.Unmarshal(answered, &refusal) == nil && refusal.Error.Message != "" {
			return errors.New(refusal.Error.Message)
		}
		return fmt.Errorf("the server answered %s", response.Status)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(answered, answer)
}
