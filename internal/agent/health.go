package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// livePatience is how long the loop may be busy before the agent counts as stuck: far longer than any turn
// takes, a full table's included.
const livePatience = 20 * time.Second

// listenHealth opens the port of the probes, on this host alone; nil where none is wanted.
func listenHealth(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if six, ok := strings.CutPrefix(address, "127.0.0.1:"); ok && errors.Is(err, syscall.EADDRNOTAVAIL) { // a host without any IPv4
		ln, err = new(net.ListenConfig).Listen(ctx, "tcp", "[::1]:"+six)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for health probes: %w: choose another --health-address", err)
	}
	return ln, nil
}

// health answers kubelet's probes. Neither says anything of BGP: an agent whose peers are all down must not
// be restarted for it, nor may a rolling update wait for them.
//
//	/livez   the loop turns
//	/readyz  a pod's ADD can be served
func (a *Agent) health(ctx context.Context) error {
	if a.probes == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { answer(w, a.alive(r.Context())) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, a.serves(r.Context())) })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(a.probes); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health probes: %w", err)
	}
	return ctx.Err()
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// alive says why the loop does not turn; nil if it does. An agent whose node has left has no loop any more
// and waits for its end.
func (a *Agent) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, livePatience)
	defer cancel()
	if err := a.view(ctx, func(*loop) {}); !errors.Is(err, errLeft) {
		return err
	}
	return nil
}

// serves says why a pod cannot be added now; nil if it can, or if this node never has pods.
func (a *Agent) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, livePatience)
	defer cancel()
	var why error
	err := a.view(ctx, func(l *loop) {
		if l.desired.Role == roleNode {
			why = l.unserved
		}
	})
	return errors.Join(err, why)
}
