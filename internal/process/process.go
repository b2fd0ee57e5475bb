// Package process runs a hark as a process and talks to it from outside, as torture, bench and tests
// do. It knows hark by its API alone.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Hark is a running hark.
type Hark struct {
	BaseURL    string `json:"baseUrl"`
	Token      string `json:"token"`
	LocationID string `json:"locationId"`
	PID        int    `json:"pid"`

	Log *Tail // what it wrote to its standard error of late

	cmd  *exec.Cmd
	done chan struct{}
}

// Tail keeps the end of what is written to it.
type Tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytes = 64 << 10

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailBytes {
		t.b = append([]byte(nil), t.b[len(t.b)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// Start runs the binary with the arguments, which begin with the command, and waits until it
// says that it is ready.
func Start(ctx context.Context, binary string, args ...string) (*Hark, error) {
	dir, err := os.MkdirTemp("", "hark-ready-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "ready.json")
	p := &Hark{Log: new(Tail), done: make(chan struct{})}
	p.cmd = exec.Command(binary, append(args, "--ready-file", file)...)
	p.cmd.Stderr = p.Log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait() // how it ends is for who ends it
		close(p.done)
	}()
	for deadline := time.Now().Add(StartPatience); ; {
		if b, err := os.ReadFile(file); err == nil {
			return p, json.Unmarshal(b, p)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-p.done:
			return nil, fmt.Errorf("hark ended instead of starting:\n%s", p.Log)
		case <-ctx.Done():
			p.End(syscall.SIGKILL)
			return nil, ctx.Err()
		}
		if time.Now().After(deadline) {
			p.End(syscall.SIGKILL)
			return nil, fmt.Errorf("hark is not ready after %v:\n%s", StartPatience, p.Log)
		}
	}
}

// StartPatience is how long a hark may take to start.
const StartPatience = time.Minute

// End ends the process by the signal and waits for that. Where there are no signals it is killed.
func (p *Hark) End(s syscall.Signal) {
	if p.cmd.Process.Signal(s) != nil {
		p.cmd.Process.Kill() // if it fails, the process has ended
	}
	<-p.done
}

// Ended is closed when the process has ended.
func (p *Hark) Ended() <-chan struct{} { return p.done }

// client of requests to harks that may be frozen.
var client = &http.Client{Timeout: 30 * time.Second}

// Ready reports whether the hark says, at once, that it takes requests.
func (p *Hark) Ready() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.BaseURL+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := client.Do(r)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Call makes a request and decodes the answer, whose status must be 200.
func (p *Hark) Call(method, path string, body, answer any) error {
	status, content, err := p.Try(method, path, body)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s %s: %d %s", method, path, status, content)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(content, answer)
}

// Try makes a request. A body of bytes goes as it is.
func (p *Hark) Try(method, path string, body any) (status int, content []byte, err error) {
	b, ok := body.([]byte)
	if !ok && body != nil {
		if b, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	r, err := http.NewRequest(method, p.BaseURL+path, bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+p.Token)
	response, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	content, err = io.ReadAll(response.Body)
	return response.StatusCode, content, err
}

// Meter makes a virtual device that reports numbers, and returns its id.
func (p *Hark) Meter(name string) (string, error) {
	var made struct{ DeviceID string }
	err := p.Call("POST", "/virtualdevices/prototypes", map[string]any{
		"name": name, "prototype": "VIRTUAL_METERED_SWITCH", "owner": map[string]any{"ownerType": "LOCATION", "ownerId": p.LocationID},
	}, &made)
	return made.DeviceID, err
}

// Install registers and installs an API-access app that wants all power reports, with the
// settings of its deliveries, and returns the installed app's id.
func (p *Hark) Install(name, target string, settings map[string]any) (string, error) {
	app, err := p.Register(name, target, settings)
	if err != nil {
		return "", err
	}
	return p.InstallApp(app)
}

// Register registers an API-access app, with the settings of its deliveries, and returns its id.
func (p *Hark) Register(name, target string, settings map[string]any) (string, error) {
	var created struct{ App struct{ AppID string } }
	if err := p.Call("POST", "/apps", map[string]any{"appName": name, "displayName": name, "appType": "API_ONLY", "apiOnly": map[string]any{"targetUrl": target}}, &created); err != nil {
		return "", err
	}
	if err := p.Call("PUT", "/hark/v1/apps/"+name+"/delivery", settings, nil); err != nil {
		return "", err
	}
	return created.App.AppID, p.Call("POST", "/hark/v1/apps/"+name+"/confirm", nil, nil)
}

// InstallApp installs a registered app, once more if it is, lets it subscribe to all power reports,
// and returns the installed app's id.
func (p *Hark) InstallApp(app string) (string, error) {
	var installed struct {
		InstalledApp struct{ InstalledAppID string }
	}
	if err := p.Call("POST", "/installedapps", map[string]any{"appId": app, "locationId": p.LocationID, "permissions": []string{"r:devices:*"}}, &installed); err != nil {
		return "", err
	}
	id := installed.InstalledApp.InstalledAppID
	return id, p.Call("POST", "/installedapps/"+id+"/subscriptions", map[string]any{
		"sourceType": "CAPABILITY", "capability": map[string]any{"locationId": p.LocationID, "capability": "powerMeter", "attribute": "power", "value": "*", "subscriptionName": "power"},
	}, nil)
}
