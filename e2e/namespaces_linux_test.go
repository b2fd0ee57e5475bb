package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"hark/internal/engine/enginetest"
)

// The addresses at which harks in namespaces find NATS and apps. They are of a network that is
// set aside for tests (RFC 2544).
const (
	natsAddress = "198.18.254.1"
	appsAddress = "198.18.255.1"
)

// namespaces puts each of so many harks in a network namespace of its own, with two cables: one
// to NATS, which is cut, and one to all else. It needs the right to make them.
func namespaces(t *testing.T, nodes []enginetest.Node, count int) ([]link, error) {
	t.Helper()
	ip := func(command string) error {
		out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, out)
		}
		return nil
	}
	undo := func(command string) {
		t.Cleanup(func() {
			if err := ip(command); err != nil {
				t.Log(err)
			}
		})
	}
	for _, address := range []string{natsAddress, appsAddress} {
		if err := ip("address add " + address + "/32 dev lo"); err != nil {
			return nil, err
		}
		undo("address del " + address + "/32 dev lo")
	}
	var nats []string
	for i, n := range nodes {
		nodes[i].Host = natsAddress
		nats = append(nats, net.JoinHostPort(natsAddress, strconv.Itoa(n.Client)))
	}
	var links []link
	for n := range count {
		space := fmt.Sprintf("hark-%d-%d", os.Getpid(), n)
		if err := ip("netns add " + space); err != nil {
			return nil, err
		}
		undo("netns del " + space) // and the cables with it
		if err := ip("-n " + space + " link set lo up"); err != nil {
			return nil, err
		}
		near := map[string]string{}
		for i, to := range []string{natsAddress, appsAddress} {
			network := fmt.Sprintf("198.18.%d", 2*n+i)
			cable := fmt.Sprintf("hk%d%d%d", os.Getpid()%100_000, n, i)
			near[to] = cable
			for _, command := range []string{
				"link add " + cable + " type veth peer name far" + fmt.Sprint(i) + " netns " + space,
				"address add " + network + ".1/30 dev " + cable,
				"link set " + cable + " up",
				"-n " + space + " address add " + network + ".2/30 dev far" + fmt.Sprint(i),
				"-n " + space + " link set far" + fmt.Sprint(i) + " up",
				"-n " + space + " route add " + to + " via " + network + ".1",
			} {
				if err := ip(command); err != nil {
					return nil, err
				}
			}
		}
		links = append(links, link{
			nats: nats, apps: appsAddress, listen: fmt.Sprintf("198.18.%d.2:0", 2*n+1), run: []string{"ip", "netns", "exec", space},
			interrupt: func(is bool) {
				state := " up"
				if is {
					state = " down"
				}
				if err := ip("link set " + near[natsAddress] + state); err != nil {
					t.Error(err)
				}
			},
		})
	}
	return links, nil
}
