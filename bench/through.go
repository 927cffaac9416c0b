package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// ahead is how far a publisher may be ahead of its subscriber, in messages: a server drops what a
// slow subscriber leaves in its queue. A publisher that is so far ahead waits until half of the
// messages have arrived. If it waited after every message, each would wait for the previous one to
// travel all the way, which no real publisher does.
const ahead = 2 * window

// through publishes with one client and receives with another, through a real server.
func through(j job) (values, error) {
	sub, m, err := j.open()
	if err != nil {
		return nil, err
	}
	defer sub.close()
	pub, err := connect(j.Who, options{addr: j.Addr, id: "publisher", window: j.Window, calls: m.calls})
	if err != nil {
		return nil, err
	}
	defer pub.close()
	var (
		sent, received atomic.Int64
		arrived        = make(chan struct{}, 1)
		gone           = make(chan error, 2)
	)
	go func() {
		gone <- sub.receive(j.QoS, func() {
			received.Add(1)
			select {
			case arrived <- struct{}{}:
			default:
			}
		})
	}()
	wait := func(least int64) error {
		for received.Load() < least {
			select {
			case <-arrived:
			case err := <-gone:
				return errors.Join(errors.New("the subscriber got no more"), err)
			}
		}
		return nil
	}
	watch := time.AfterFunc(30*time.Second+4*j.Round, func() {
		gone <- fmt.Errorf("%d messages were published and %d came", sent.Load(), received.Load())
	})
	defer watch.Stop()
	// Nobody subscribes synchronously in these adapters: publish until something comes.
	for received.Load() == 0 {
		if err := pub.block(j.QoS); err != nil {
			return nil, err
		}
		sent.Add(1)
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	sent.Store(received.Load())
	return j.timed(m, func(n int) error {
		var late error
		before := func() {
			if s := sent.Add(1); s-received.Load() > ahead && late == nil {
				late = wait(s - ahead/2)
			}
		}
		if err := pub.publish(load{n: n, qos: j.QoS, before: before}); err != nil {
			return err
		}
		return errors.Join(late, wait(sent.Load()))
	})
}

// serverTables measure two clients with a real server between them.
func (m method) serverTables() []table {
	starts := map[string]func() (*process, error){"mochi": func() (*process, error) { return job{Work: "serve", Who: "mochi"}.start(second) }}
	names := []string{"mochi"}
	if program, err := findMosquitto(); err == nil {
		starts["mosquitto"] = func() (*process, error) { return startMosquitto(program) }
		names = append([]string{"mosquitto"}, names...)
	}
	var all []table
	for _, name := range names {
		for qos := range byte(3) {
			t := table{Name: fmt.Sprintf("servers: %s, QoS %d", name, qos)}
			for _, who := range []string{ours, paho, atwat, limit1, limit100} {
				j := job{Work: "through", Who: who, QoS: qos, Window: window, Round: m.Traffic, Profile: m.Profile}
				t.Rows = append(t.Rows, j.against(starts[name], first))
			}
			all = append(all, t)
		}
	}
	return all
}

// against returns a row that does the job with a new server.
func (j job) against(start func() (*process, error), core int) row {
	return row{j.Who, func() (values, error) {
		s, err := start()
		if err != nil {
			return nil, err
		}
		defer s.stop()
		j.Addr = s.addr
		return j.run(core)
	}}
}

// findMosquitto returns the path of the program, which distributions install outside of the users'
// PATH.
func findMosquitto() (string, error) {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("mosquitto is not installed: apt-get install -y --no-install-recommends mosquitto")
}

// startMosquitto starts a mosquitto that stores nothing and drops nothing, on the core for servers.
func startMosquitto(program string) (*process, error) {
	dir, err := os.MkdirTemp("", "mqtt311-bench-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.Close() // the program cannot choose a port itself
	addr := l.Addr().(*net.TCPAddr)
	config := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("user root\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages %d\nmax_queued_messages 0\nlog_dest none\nlistener %d 127.0.0.1\n", window, addr.Port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-c", config)
	if err := pinned(second, cmd.Start); err != nil {
		return nil, err
	}
	p := &process{addr: addr.String(), end: func() {
		cmd.Process.Kill()
		cmd.Wait()
		os.RemoveAll(dir)
	}}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", p.addr); err == nil {
			conn.Close()
			return p, nil
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, errors.New("mosquitto does not start")
		}
	}
}
