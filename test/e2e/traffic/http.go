package traffic

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// load asks for a URL every Interval, each time over a connection of its own, without waiting for the
// answer before.
func load(ctx context.Context, url string, answered func()) (Tally, error) {
	client := &http.Client{Timeout: httpPatience, Transport: &http.Transport{DisableKeepAlives: true}}
	var (
		mu      sync.Mutex
		probes  []probe
		last    string
		running sync.WaitGroup
	)
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		mu.Lock()
		probes = append(probes, probe{sent: time.Now()})
		mu.Unlock()
		running.Go(func() {
			// Not ctx: what is under way when the load ends shall come to its own end.
			err := get(context.WithoutCancel(ctx), client, url)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				last = err.Error()
				return
			}
			probes[n].answered = time.Now()
			if answered != nil {
				answered()
				answered = nil
			}
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	running.Wait()
	t := count(probes)
	t.Error = last
	return t, nil
}

func get(ctx context.Context, client *http.Client, url string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r, err := client.Do(q)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	return nil
}
