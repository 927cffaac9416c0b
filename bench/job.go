package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// jobVariable is the environment variable that makes this program do a job instead of starting
// jobs.
const jobVariable = "MQTT311_BENCH_JOB"

// The cores on which a process may run.
const (
	anywhere = -1 // on any core
	first    = 0  // for the clients of pinned rows
	second   = 1  // for their servers
)

// A job is done by a process of its own, which runs this program again.
type job struct {
	Work    string // a key of works, or "serve"
	Who     string
	QoS     byte
	Window  int           // unanswered messages
	Round   time.Duration // approximate duration of the measurement
	Addr    string        // of the server
	Via     string        // tcp, tls or ws
	Owned   bool          // the application keeps received payloads
	Count   int
	Cuts    int
	Process int    // the process whose processor time is measured
	Profile string // kind and file, such as cpu=path; or empty
}

// Values are the results of a round, by quantity.
type values map[string]float64

// works are the jobs that return values.
var works = map[string]func(job) (values, error){
	"publish":  publish,
	"receive":  receive,
	"latency":  latency,
	"blocked":  blocked,
	"through":  through,
	"idle":     idle,
	"store":    store,
	"survive":  survive,
	"receipts": receipts,
	"steady":   steady,
	"pass":     pass,
	"step":     step,
	"watch":    watch,
}

// child does the job in the environment. It returns false if there is none.
func child() bool {
	text, ok := os.LookupEnv(jobVariable)
	if !ok {
		return false
	}
	if err := doJob(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func doJob(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	if j.Work == "serve" {
		return serve(j)
	}
	work, ok := works[j.Work]
	if !ok {
		return fmt.Errorf("no work is called %q", j.Work)
	}
	v, err := work(j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

// command returns a command that runs this program with a job, on the given core.
func (j job) command() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	return cmd, nil
}

// run runs the job and returns its values.
func (j job) run(core int) (values, error) {
	cmd, err := j.command()
	if err != nil {
		return nil, err
	}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := pinned(core, cmd.Start); err != nil {
		return nil, err
	}
	late := time.AfterFunc(2*time.Minute+10*j.Round, func() { cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s, %s at QoS %d: %w: %s", j.Work, j.Who, j.QoS, err, strings.TrimSpace(stderr.String()))
	}
	var v values
	if err := json.Unmarshal([]byte(stdout.String()), &v); err != nil {
		return nil, fmt.Errorf("%s, %s: %w", j.Work, j.Who, err)
	}
	return v, nil
}

// A process is a server that runs until it is stopped.
type process struct {
	addr string
	end  func()
}

func (p *process) stop() { p.end() }

// start starts a server and returns once it listens. The server ends with its standard input, and
// so with this process.
func (j job) start(core int) (*process, error) {
	cmd, err := j.command()
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := pinned(core, cmd.Start); err != nil {
		return nil, err
	}
	p := &process{end: func() {
		in.Close()
		cmd.Wait()
	}}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, errors.New("the server does not start")
	}
	p.addr = strings.TrimSpace(line)
	return p, nil
}

// starter returns a function that calls start.
func (j job) starter(core int) func() (*process, error) {
	return func() (*process, error) { return j.start(core) }
}
