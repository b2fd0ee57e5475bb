package appcall

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Egress says where calls to apps may go.
type Egress string

// The policies. None lets calls go to where nobody answers, such as multicast.
const (
	EgressInternet Egress = "internet" // public addresses only
	EgressLAN      Egress = "lan"      // also private ones, but not this machine and its link
	EgressAny      Egress = "any"      // also this machine
)

// The networks whose addresses hold others: what counts is where a packet ends.
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	localNAT  = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour = netip.MustParsePrefix("2002::/16")
	teredo    = netip.MustParsePrefix("2001::/32")
)

// special are networks that are neither public nor anybody's home.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fec0::/10"), localNAT, teredo,
}

// inner returns the address in which a packet to another ends.
func inner(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

// Allows returns nil when a call may go to the address, else why not.
func (e Egress) Allows(address netip.Addr) error {
	a := inner(address)
	refuse := func(what, remedy string) error {
		return fmt.Errorf("%s is %s, where --egress %s sends nothing%s", address, what, e, remedy)
	}
	isSpecial := false
	for _, p := range special {
		isSpecial = isSpecial || p.Contains(a)
	}
	switch {
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return refuse("for many at once", "")
	case e == EgressAny:
		return nil
	case a.IsLoopback() || a.IsUnspecified():
		return refuse("this machine", "; --egress any does")
	case a.IsLinkLocalUnicast():
		return refuse("on the link, where clouds keep their secrets", "; --egress any does")
	case isSpecial:
		return refuse("neither public nor private", "; --egress any does")
	case a.IsPrivate() && e != EgressLAN:
		return refuse("private", "; --egress lan does")
	}
	return nil
}

// control holds a connection against the policy when it is about to be made: what counts is the
// address that the name leads to at that moment.
func (e Egress) control(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return err
	}
	return e.Allows(a)
}
