package httpapi

import (
	"net/url"
	"strconv"
	"strings"

	"hark/internal/problem"
)

// pageSize is how many items an answer has at most, and if the request does not say.
const pageSize = 200

type link struct {
	Href string `json:"href"`
}

// links never holds null: the one shape of a last page that every client takes is {}
// (client requirements, "Paging").
type links struct {
	Next     *link `json:"next,omitempty"`
	Previous *link `json:"previous,omitempty"`
}

type page struct {
	Items any   `json:"items"`
	Links links `json:"_links"`
}

// paged answers the part of the list that the request's max and page ask for, each item as
// view shows it.
func paged[T any](c *call, list []T, view func(T) any) (any, error) {
	size, err := c.number("max", pageSize)
	if err != nil {
		return nil, err
	}
	number, err := c.number("page", 0)
	if err != nil {
		return nil, err
	}
	size = min(max(size, 1), pageSize)
	from := min(number*size, len(list))
	to := min(from+size, len(list))
	items := make([]any, 0, to-from)
	for _, item := range list[from:to] {
		items = append(items, view(item))
	}
	p := page{Items: items}
	if to < len(list) {
		p.Links.Next = c.pageLink(size, number+1)
	}
	if number > 0 {
		p.Links.Previous = c.pageLink(size, number-1)
	}
	return p, nil
}

func (c *call) number(name string, otherwise int) (int, error) {
	text := c.query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1_000_000 {
		return 0, problem.New(problem.Invalid, "The parameter %s is %.40q, not a number from 0 to 1000000.", name, text).At(name).Coded("PatternError")
	}
	return n, nil
}

func (c *call) query() url.Values { return c.URL.Query() }

// pageLink is absolute, on the origin that the client called, and carries its filters:
// clients check or need all three (reference 1.8).
func (c *call) pageLink(size, number int) *link {
	q := c.query()
	q.Set("max", strconv.Itoa(size))
	q.Set("page", strconv.Itoa(number))
	return &link{c.origin() + c.URL.EscapedPath() + "?" + q.Encode()}
}

// origin is the scheme and host by which the client reached this server.
func (c *call) origin() string {
	scheme, host := "http", c.Host
	if c.TLS != nil {
		scheme = "https"
	}
	if c.trustForwarded {
		if p := c.Request.Header.Get("X-Forwarded-Proto"); p == "http" || p == "https" {
			scheme = p
		}
		if h := c.Request.Header.Get("X-Forwarded-Host"); h != "" {
			host = h
		}
	}
	return scheme + "://" + host
}

// list returns a parameter's values, repeated or joined by commas: clients do both.
func (c *call) list(name string) []string {
	var values []string
	for _, v := range c.query()[name] {
		for part := range strings.SplitSeq(v, ",") {
			if part != "" {
				values = append(values, part)
			}
		}
	}
	return values
}
