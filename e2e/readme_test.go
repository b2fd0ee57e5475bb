package e2e

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tour returns the README's commands of the third terminal, each block as it stands.
func tour(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(b), "<!-- tour -->\n```sh\n")[1:] {
		block, _, ok := strings.Cut(part, "```")
		if !ok {
			t.Fatal("a block of the tour does not end")
		}
		blocks = append(blocks, block)
	}
	if len(blocks) != 6 {
		t.Fatalf("the tour has %d blocks, want 6", len(blocks))
	}
	return blocks
}

// listening waits until something listens on the address.
func listening(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing listens on %s after 20 s", address)
		}
	}
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestReadmeTour follows the README literally, but for the two addresses.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, "the tour needs "+tool+", which is not installed")
		}
	}
	dir := t.TempDir()
	h := start(t, "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "home"))
	address := freeAddress(t)
	built := filepath.Join(dir, "receiver")
	if out, err := exec.Command("go", "build", "-o", built, "hark/examples/receiver").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	receiver := func() (stop func(), lines *bufio.Scanner) {
		cmd := exec.Command(built, "-listen", address, "-keys", h.BaseURL)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		listening(t, address)
		return func() { cmd.Process.Kill(); cmd.Wait() }, bufio.NewScanner(out)
	}
	stop, lines := receiver()
	defer func() { stop() }()
	verified := func(part string) {
		t.Helper()
		for lines.Scan() {
			if line := lines.Text(); strings.HasPrefix(line, "verified DEVICE_EVENT") && strings.Contains(line, part) {
				return
			}
		}
		t.Fatalf("the receiver ended without an event with %s", part)
	}

	shell := exec.Command("sh")
	shell.Dir = dir
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	shell.Stdout, shell.Stderr = &said, &said
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	for i, block := range tour(t) {
		block = strings.NewReplacer("http://127.0.0.1:8080", h.BaseURL, "127.0.0.1:9000", address).Replace(block)
		if i == 5 { // "Stop the second terminal"
			stop()
		}
		if _, err := in.Write([]byte(block)); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			verified(`"value":"open"`)
		}
	}
	in.Close()
	if err := shell.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said.Bytes())
	}
	for _, part := range []string{`"subscriptionName":"doors"`, `{"stateChanges":[true]}`, "Missing scope r:locations:" + h.LocationID, "the value did not change", `"targetStatus":"CONFIRMED"`} {
		if !strings.Contains(said.String(), part) {
			t.Errorf("the tour does not say %s:\n%s", part, said.Bytes())
		}
	}
	h.End(syscall.SIGKILL) // "as hard as you like"
	h = start(t, "--listen", strings.TrimPrefix(h.BaseURL, "http://"), "--data", filepath.Join(dir, "home"))
	stop, lines = receiver()
	verified(`"value":"closed"`)
}

// TestExampleSmartApp runs the example and its script.
func TestExampleSmartApp(t *testing.T) {
	t.Parallel()
	requireNode(t)
	h := start(t, "--listen", "127.0.0.1:0")
	modules, err := filepath.Abs("node/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	h.run("../examples/smartapp/index.js", "PORT="+port, "NODE_PATH="+modules)
	listening(t, address)
	install := exec.Command("sh", "../examples/smartapp/install.sh")
	install.Env = append(os.Environ(), "HARK="+h.BaseURL, "TOKEN="+h.Token, "APP_URL=http://"+address+"/")
	out, err := install.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "the lamp is on") {
		t.Errorf("%v\n%s", err, out)
	}
}
