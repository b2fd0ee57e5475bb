package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"hark/internal/certs"
)

// TestHTTPSForBuiltInHosts makes a local authority with hark ca, and has clients that trust it
// reach the platform's own hosts, as after a change of the hosts file.
func TestHTTPSForBuiltInHosts(t *testing.T) {
	t.Parallel()
	requireNode(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	advice, err := exec.Command(path, "ca", "--data", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("hark ca: %v\n%s", err, advice)
	}
	for _, part := range []string{"NODE_EXTRA_CA_CERTS=" + certs.Path(dir), "SHA-256", "api.smartthings.com auth-global.api.smartthings.com"} {
		if !strings.Contains(string(advice), part) {
			t.Errorf("hark ca does not say %q:\n%s", part, advice)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	h := start(t, "--listen", "127.0.0.1:0", "--data", dir, "--tls-listen", address)

	// The official SDK over HTTPS, at a name of this machine.
	_, port, _ := net.SplitHostPort(address)
	list := exec.Command("node", "node/client.js", "devices", "list")
	list.Env = append(os.Environ(), "HARK_URL=https://localhost:"+port, "HARK_TOKEN="+h.Token, "NODE_EXTRA_CA_CERTS="+certs.Path(dir))
	out, err := list.Output()
	var devices []struct{ Label string }
	if err != nil || json.Unmarshal(out, &devices) != nil || len(devices) != 13 {
		t.Errorf("the SDK lists %d devices over HTTPS: %v", len(devices), err)
	}
	list = exec.Command("node", "node/client.js", "devices", "list")
	list.Env = append(os.Environ(), "HARK_URL=https://localhost:"+port, "HARK_TOKEN="+h.Token)
	if out, err := list.CombinedOutput(); err == nil {
		t.Errorf("the SDK trusts an authority that nobody told it of: %s", out)
	}

	// A client that has the platform's hosts built in.
	authority, err := os.ReadFile(certs.Path(dir))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}}
	ask := func(method, url, body string) *http.Response {
		t.Helper()
		r, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+h.Token)
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	for _, host := range certs.PlatformHosts {
		want(t, host, ask("GET", "https://"+host+"/v1/locations", "").StatusCode, http.StatusOK)
	}
	made := ask("POST", "https://api.smartthings.com/subscriptions", `{"name":"built in","subscriptionFilters":[{"type":"LOCATIONIDS","value":["ALL"],"eventType":["DEVICE_EVENT"]}]}`)
	var stream struct{ RegistrationURL string }
	if err := json.NewDecoder(made.Body).Decode(&stream); err != nil || !strings.HasPrefix(stream.RegistrationURL, "https://api.smartthings.com/filters/") {
		t.Fatalf("the stream is at %q: %v", stream.RegistrationURL, err)
	}
	events := ask("GET", stream.RegistrationURL, "")
	lines := bufio.NewScanner(events.Body)
	until := func(text string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), text) {
				return
			}
		}
		t.Fatalf("the stream ends before %q: %v", text, lines.Err())
	}
	until("welcome")
	for _, value := range []string{"open", "closed"} {
		h.call("POST", "/virtualdevices/"+h.device("Front door")+"/events", map[string]any{"deviceEvents": []any{map[string]any{"capability": "contactSensor", "attribute": "contact", "value": value}}}, nil)
		until(`"value":"` + value + `"`)
	}
	h.End(syscall.SIGINT)
	until("goodbye")
	if rest, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("the stream does not end well: %q %v", rest, err)
	}
}
