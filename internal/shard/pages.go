package shard

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"hark/internal/id"
	"hark/internal/records"
	"hark/internal/subscription"
)

// Subscriptions are kept in pages: records of several that follow each other in their installed
// app. A start reads few records, which is what it costs, and a change writes a small one.

// page is a part of an installed app's subscriptions.
type page struct {
	number uint32 // its record's; rising in the app, with gaps where a page went empty
	count  uint32 // of subscriptions, which come after those of the pages before
}

// pageBytes is how large a page's record may get before the next subscription begins another.
const pageBytes = 4 << 10

func (p page) record(app id.InstalledApp, list []*subscription.Subscription) records.Write {
	w := records.Write{Kind: kindSubscriptions, ID: app.String() + "." + strconv.FormatUint(uint64(p.number), 10)}
	if len(list) > 0 {
		w.Value = records.Raw(subscription.EncodeRecords(list))
	}
	return w
}

// add adds a subscription, and returns what to write.
func (in *installed) add(sub *subscription.Subscription) []records.Write {
	in.subscriptions = append(in.subscriptions, sub)
	if n := len(in.pages); n > 0 {
		last := &in.pages[n-1]
		last.count++
		w := last.record(*in.id, in.subscriptions[len(in.subscriptions)-int(last.count):])
		if len(w.Value.(records.Raw)) <= pageBytes {
			return []records.Write{w}
		}
		last.count--
	}
	next := page{count: 1}
	if n := len(in.pages); n > 0 {
		next.number = in.pages[n-1].number + 1
	}
	in.pages = append(in.pages, next)
	return []records.Write{next.record(*in.id, in.subscriptions[len(in.subscriptions)-1:])}
}

// changed returns what to write when the subscriptions at these places, in rising order, have
// been replaced.
func (in *installed) changed(places []int) (writes []records.Write) {
	first := 0
	for _, p := range in.pages {
		end := first + int(p.count)
		written := false
		for len(places) > 0 && places[0] < end {
			places, written = places[1:], true
		}
		if written {
			writes = append(writes, p.record(*in.id, in.subscriptions[first:end]))
		}
		first = end
	}
	return writes
}

// remove takes a subscription out, and returns what to write.
func (in *installed) remove(sub *subscription.Subscription) []records.Write {
	i := slices.Index(in.subscriptions, sub)
	if i < 0 {
		return nil
	}
	in.subscriptions = slices.Concat(in.subscriptions[:i], in.subscriptions[i+1:]) // others may be reading the old list
	first := 0
	for n := range in.pages {
		p := &in.pages[n]
		if i >= first+int(p.count) {
			first += int(p.count)
			continue
		}
		p.count--
		w := p.record(*in.id, in.subscriptions[first:first+int(p.count)])
		if p.count == 0 {
			in.pages = slices.Delete(in.pages, n, n+1)
		}
		return []records.Write{w}
	}
	return nil
}

// forgotten returns what to write when all of the subscriptions are gone.
func (in *installed) forgotten() (writes []records.Write) {
	for _, p := range in.pages {
		w := p.record(*in.id, nil)
		w.Brief = true
		writes = append(writes, w)
	}
	return writes
}

// pageReader decodes the pages of a start on all processors.
type pageReader struct {
	raw     chan rawPage
	running sync.WaitGroup

	mu    sync.Mutex
	pages map[id.InstalledApp][]readPage
	err   error
}

type rawPage struct {
	key  string
	data []byte
}

type readPage struct {
	number        uint32
	subscriptions []*subscription.Subscription
}

func newPageReader() *pageReader {
	r := &pageReader{raw: make(chan rawPage, 256), pages: map[id.InstalledApp][]readPage{}}
	for range runtime.GOMAXPROCS(0) {
		r.running.Go(func() {
			for raw := range r.raw {
				app, p, err := raw.read()
				r.mu.Lock()
				if err == nil {
					r.pages[app] = append(r.pages[app], p)
				} else if r.err == nil {
					r.err = fmt.Errorf("record %s.%s: %w", kindSubscriptions, raw.key, err)
				}
				r.mu.Unlock()
			}
		})
	}
	return r
}

func (raw rawPage) read() (app id.InstalledApp, p readPage, err error) {
	of, number, _ := strings.Cut(raw.key, ".")
	if app, err = id.Parse[id.InstalledApp](of); err != nil {
		return app, p, err
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return app, p, err
	}
	p.number = uint32(n)
	p.subscriptions, err = subscription.DecodeRecords(raw.data)
	return app, p, err
}

// end waits until all is decoded. It is called once.
func (r *pageReader) end() error {
	close(r.raw)
	r.running.Wait()
	return r.err
}

// restore gives the installed app the pages that were read for it.
func (in *installed) restore(pages []readPage) {
	slices.SortFunc(pages, func(a, b readPage) int { return int(a.number) - int(b.number) })
	for _, p := range pages {
		in.pages = append(in.pages, page{p.number, uint32(len(p.subscriptions))})
		in.subscriptions = append(in.subscriptions, p.subscriptions...)
	}
	for _, sub := range in.subscriptions {
		sub.App, sub.Location = in.id, in.app.Location
	}
}
