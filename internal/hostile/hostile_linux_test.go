package hostile_test

import (
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/internal/hostile"
	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/internal/thorough"
	"github.com/stretchr/testify/require"
)

var (
	long = flag.Bool("hostile.long", false, "half a minute of each server, with the usual times of a client")
	side = flag.Int("hostile.side", 16, "servers that run side by side")
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", fmt.Sprint(*side)) // mostly waiting
	hostile.Main(m)
}

// duration returns how long a server is hostile, and the timeouts of the victims.
func duration() (time.Duration, hostile.Times) {
	if *long {
		return 30 * time.Second, hostile.Times{
			KeepAlive: 10 * time.Second, Ping: 5 * time.Second, Connect: 10 * time.Second, Write: 10 * time.Second, Reconnect: 10 * time.Second,
		}
	}
	return 3 * time.Second, hostile.Times{
		KeepAlive: time.Second, Ping: 300 * time.Millisecond, Connect: 2 * time.Second, Write: time.Second, Reconnect: 500 * time.Millisecond,
	}
}

var command = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", "mqtt311.hostile"))
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", path, "../../connector/cmd/mqtt311").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// busy limits how many servers that keep processors busy run at once.
var busy = make(chan struct{}, 3)

// Each server meets each victim. The victim keeps within its budget while the server is hostile, logs
// what is wrong, does its work when the server behaves, and ends on request.
func TestHostile(t *testing.T) {
	if raced {
		t.Skip("the race detector takes a multiple of memory and time")
	}
	ca := testcert.Authority(t)
	caFile, _ := ca.Write(t, t.TempDir(), "ca")
	path, err := command()
	require.NoError(t, err)
	for i, s := range hostile.Servers() {
		t.Run(strings.ReplaceAll(s.Name, " ", "_"), func(t *testing.T) {
			if i%8 != 0 {
				thorough.Only(t)
			}
			t.Parallel()
			if s.Budget.CPU > 1 {
				busy <- struct{}{}
				defer func() { <-busy }()
			}
			var victims sync.WaitGroup
			for _, kind := range []hostile.Kind{hostile.Client, hostile.Store, hostile.Command} {
				l := hostile.Listen(t, &s, ca)
				_, times := duration()
				v := hostile.Start(t, hostile.Order{Kind: kind, Addr: l.Addr, Over: s.Over, Dir: t.TempDir(), CA: caFile, Times: times}, path,
					"--drain-timeout", patience.String())
				victims.Go(func() { meets(t, kind, l, v) })
			}
			victims.Wait()
		})
	}
}

// meets checks one victim with one server. It waits for slow steps on a busy machine and does not count
// them against the victim.
func meets(t *testing.T, kind hostile.Kind, l *hostile.Listener, v *hostile.Victim) {
	s := l.Server
	failed := false
	wrong := func(format string, args ...any) {
		failed = true
		t.Errorf(string(kind)+": "+format, args...)
	}
	if !eventually(func() bool { return l.Connections() > 0 || v.Ended() }) {
		wrong("there was no connection")
	}
	hostility, _ := duration()
	cpu, log := v.Used()
	begun := time.Now()
	if !s.Floods {
		time.Sleep(hostility)
	} else {
		work := hostility / 6
		if s.Budget.CPU <= 1 {
			work = hostility / 3 // only reached by a victim that does not wait as it should
		}
		within(4*hostility, func() bool {
			used, _ := v.Used()
			return used-cpu >= work || v.Ended()
		})
	}
	told := regexp.MustCompile(s.Told)
	if !eventually(func() bool { return told.MatchString(v.Log.String()) || v.Ended() }) {
		wrong("the log does not say %q", s.Told)
	}
	f, report := v.Figures()
	f.Wall = time.Since(begun)
	used, logged := v.Used()
	f.CPU, f.Log = used-cpu, logged-log
	t.Logf("%-8s %s; %d connections, %d packets; %s", kind, f, l.Connections(), report.Packets, says(v.Log.String()))
	var exit *exec.ExitError
	gaveUp := false
	if v.Ended() {
		gaveUp = kind == hostile.Command && s.Ends != 0 && errors.As(v.Stop(patience), &exit) && exit.ExitCode() == s.Ends
		if !gaveUp {
			wrong("it has ended")
		}
	}
	budget := kind.Budget().Over(s.Budget)
	if kind == hostile.Command {
		budget.Memory += s.Lines
	}
	for _, excess := range f.Exceeds(budget) {
		wrong("%s", excess)
	}
	if report.Slowest > hostile.TooLong {
		wrong("Stats took %v", report.Slowest)
	}
	text := v.Log.String()
	for _, never := range []string{"canary", "VICTIM:", "panic:", "DATA RACE"} {
		if strings.Contains(text, never) {
			wrong("the log says %q", never)
		}
	}
	if gaveUp {
		return
	}
	l.Behave()
	select {
	case <-l.Recovered():
	case <-time.After(patience):
		wrong("it does not serve when the server does")
	}
	err := v.Stop(patience)
	if kind == hostile.Command && errors.As(err, &exit) && exit.ExitCode() == 6 {
		err = nil // lines of standard input were left unread
	}
	if err != nil {
		wrong("it ended with %v", err)
	}
	if failed {
		text = v.Log.String()
		t.Logf("%s: the log of %d bytes:\n%s\n...\n%s", kind, v.Log.Len(), text[:min(2000, len(text))], text[max(min(2000, len(text)), len(text)-1000):])
	}
}

var reason = regexp.MustCompile(`"reason":"(?:[^"\\]|\\.)*"`)

// says returns the newest reason in a log other than a timeout, or else the first one.
func says(log string) string {
	last := ""
	for _, r := range reason.FindAllString(log, -1) {
		if last == "" || !strings.Contains(r, "within the connect timeout") {
			last = r
		}
	}
	return last
}

// patience allows for a slow and busy machine; a step that succeeds never needs all of it.
const patience = 5 * time.Minute

func eventually(ok func() bool) bool { return within(patience, ok) }

func within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
