// Package e2e tests the real binary from outside, by the clients that people use.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"hark/internal/process"
)

// binary returns the path of a hark built once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hark-e2e-")
	if err != nil {
		return "", err
	}
	cleanups = append(cleanups, func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "hark")
	if out, err := exec.Command("go", "build", "-o", path, "hark/cmd/hark").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hark: %w\n%s", err, out)
	}
	return path, nil
})

var cleanups []func()

func TestMain(m *testing.M) {
	if node := os.Getenv(natsVariable); node != "" {
		fmt.Fprintln(os.Stderr, runNATS(node))
		os.Exit(1)
	}
	code := m.Run()
	for _, c := range cleanups {
		c()
	}
	os.Exit(code)
}

// hark is a running hark dev.
type hark struct {
	*process.Hark
	t testing.TB
}

// start runs hark dev with the arguments and waits until it answers.
func start(t testing.TB, args ...string) *hark {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(t.Context(), path, append([]string{"dev"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.End(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the end of hark's log:\n%s", p.Log)
		}
	})
	return &hark{p, t}
}

// call makes a request to the API and decodes its answer, whose status must be 200.
func (h *hark) call(method, path string, body, answer any) {
	h.t.Helper()
	if err := h.Call(method, path, body, answer); err != nil {
		h.t.Fatal(err)
	}
}

// device returns the id of the device with the label.
func (h *hark) device(label string) string {
	h.t.Helper()
	var list struct {
		Items []struct{ DeviceID, Label string }
	}
	h.call("GET", "/devices", nil, &list)
	for _, d := range list.Items {
		if d.Label == label {
			return d.DeviceID
		}
	}
	h.t.Fatalf("no device %q", label)
	return ""
}

// missing skips the test because a tool is absent; where everything must be there it fails.
func missing(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason + ", and CI=true")
	}
	t.Skip(reason)
}

// modules installs the SDKs, once for all tests.
var modules = sync.OnceValue(func() error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed", tool)
		}
	}
	want, err := os.ReadFile("node/package-lock.json")
	if err != nil {
		return err
	}
	const mark = "node/node_modules/.installed"
	if have, err := os.ReadFile(mark); err == nil && bytes.Equal(have, want) {
		return nil
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	install.Dir = "node"
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci failed: %w\n%s", err, out)
	}
	return os.WriteFile(mark, want, 0o644)
})

// requireNode skips the test where the SDKs cannot run.
func requireNode(t *testing.T) {
	t.Helper()
	if err := modules(); err != nil {
		missing(t, "the official SDKs cannot run here: "+err.Error())
	}
}

// sdk calls a method of the official core SDK and decodes what it returns.
func (h *hark) sdk(answer any, resource, method string, args ...any) {
	h.t.Helper()
	line := []string{"node/client.js", resource, method}
	for _, a := range args {
		b, err := json.Marshal(a)
		if err != nil {
			h.t.Fatal(err)
		}
		line = append(line, string(b))
	}
	cmd := exec.Command("node", line...)
	cmd.Env = append(os.Environ(), "HARK_URL="+h.BaseURL, "HARK_TOKEN="+h.Token)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("SDK %s.%s: %v\n%s", resource, method, err, stderr.Bytes())
	}
	if answer != nil {
		if err := json.Unmarshal(out, answer); err != nil {
			h.t.Fatalf("SDK %s.%s: %v: %s", resource, method, err, out)
		}
	}
}

// script is a Node program that prints lines of JSON, each with the member "handler".
type script struct {
	t     testing.TB
	lines chan map[string]any
}

// run starts a Node program against hark for the length of the test.
func (h *hark) run(file string, env ...string) *script {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", file)
	cmd.Env = append(append(os.Environ(), "HARK_URL="+h.BaseURL, "HARK_TOKEN="+h.Token), env...)
	cmd.Stderr, cmd.WaitDelay = new(bytes.Buffer), time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	s := &script{h.t, make(chan map[string]any, 100)}
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				s.lines <- line
			}
		}
	}()
	h.t.Cleanup(func() { cancel(); cmd.Wait() })
	return s
}

// next waits for the handler's next call and returns what it said. Another handler's call
// fails the test.
func (s *script) next(handler string) map[string]any {
	s.t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok || line["handler"] != handler {
			s.t.Fatalf("the app said %v; want a call of %s", line, handler)
		}
		return line
	case <-time.After(20 * time.Second):
		s.t.Fatalf("no call of the handler %s within 20 s", handler)
		return nil
	}
}

// until waits for the handler's next call, and counts the other handlers' calls before it.
func (s *script) until(handler string) (said map[string]any, before map[string]int) {
	s.t.Helper()
	before = map[string]int{}
	for deadline := time.After(20 * time.Second); ; {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatal("the app ended")
			}
			name, _ := line["handler"].(string)
			if name == handler {
				return line, before
			}
			before[name]++
		case <-deadline:
			s.t.Fatalf("no call of the handler %s within 20 s, but %v", handler, before)
		}
	}
}
