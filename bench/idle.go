package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	atwatmqtt "github.com/at-wat/mqtt-go"
	pahomqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"
	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/transport"
	"github.com/mqtt311/mqtt311/transport/ws"
)

// The quantities of an idle connection.
const (
	goroutines = "goroutines"
	memory     = "heap+stack"
	stacks     = "stack" // part of the memory
	residency  = "RSS"
)

const keepAlive = 30 * time.Second

// insecure trusts the certificate of the null server.
var insecure = &tls.Config{InsecureSkipVerify: true}

// An idler opens a connection with keep alive to a server, over tcp, tls or ws.
type idler func(via, addr, id string) error

var idlers = map[string]idler{ours: idleOurs, paho: idlePaho, atwat: idleAtwat, limit: idleLimit}

// live keeps references to what idlers have opened.
var live []any

func idleOurs(via, addr, id string) (err error) {
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
	switch via {
	case "tls":
		dial, err = transport.Dialer("mqtts://"+addr, &transport.Options{TLS: &transport.TLSOptions{InsecureSkipVerify: true}})
	case "ws":
		dial, err = ws.Dialer("ws://"+addr, nil)
	}
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Dial: dial, ClientID: id, CleanSession: true})
	if err != nil {
		return err
	}
	live = append(live, c)
	return c.Connect(context.Background())
}

func idlePaho(via, addr, id string) error {
	opts := pahomqtt.NewClientOptions().SetClientID(id).SetTLSConfig(insecure)
	opts.AddBroker(map[string]string{"tcp": "tcp://", "tls": "ssl://", "ws": "ws://"}[via] + addr)
	c := pahomqtt.NewClient(opts)
	live = append(live, c)
	return wait(c.Connect())
}

// idleAtwat opens the smaller of the library's two clients, which does not reconnect.
func idleAtwat(via, addr, id string) error {
	ctx := context.Background()
	url := map[string]string{"tcp": "mqtt://", "tls": "mqtts://", "ws": "ws://"}[via] + addr
	c, err := atwatmqtt.DialContext(ctx, url, atwatmqtt.WithTLSConfig(insecure))
	if err != nil {
		return err
	}
	if _, err := c.Connect(ctx, id, atwatmqtt.WithKeepAlive(30)); err != nil {
		return err
	}
	live = append(live, c)
	go atwatmqtt.KeepAlive(ctx, c, keepAlive, keepAlive)
	return nil
}

// idleLimit is a goroutine blocked in a read into 512 bytes.
func idleLimit(via, addr, _ string) error {
	read := func(c interface{ Read([]byte) (int, error) }) {
		live = append(live, c)
		go c.Read(make([]byte, 512))
	}
	switch via {
	case "tls":
		c, err := tls.Dial("tcp", addr, insecure)
		if err != nil {
			return err
		}
		read(c)
	case "ws":
		c, _, err := websocket.DefaultDialer.Dial("ws://"+addr, nil)
		if err != nil {
			return err
		}
		live = append(live, c)
		go c.ReadMessage()
	default:
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		read(c)
	}
	return nil
}

// idle opens connections and measures the cost of each while nothing happens: of a further one,
// when as many are already open. Memory that is allocated once for all does not count, nor does
// what the first connections leave unused in pages that the next ones fill.
func idle(j job) (values, error) {
	f, ok := idlers[j.Who]
	if !ok {
		return nil, fmt.Errorf("nobody is called %q", j.Who)
	}
	stop, err := j.profile()
	if err != nil {
		return nil, err
	}
	open := func(name string) (values, error) {
		for i := range j.Count {
			if err := f(j.Via, j.Addr, fmt.Sprint(name, i)); err != nil {
				return nil, err
			}
		}
		return footprint(), nil
	}
	before, err := open("first-")
	if err != nil {
		return nil, err
	}
	after, err := open("idle-")
	if err != nil {
		return nil, err
	}
	for quantity := range after {
		after[quantity] = (after[quantity] - before[quantity]) / float64(j.Count)
	}
	if len(live) < 2*j.Count {
		return nil, errors.New("a connection was lost")
	}
	return after, stop()
}

func footprint() values {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return values{goroutines: float64(runtime.NumGoroutine()), memory: float64(m.HeapAlloc + m.StackInuse), stacks: float64(m.StackInuse), residency: resident("VmRSS:")}
}

// idleTables measure the cost of an idle connection.
func (m method) idleTables() []table {
	var all []table
	for _, via := range []string{"tcp", "tls", "ws"} {
		t := table{Name: "idle: " + strings.ToUpper(via)}
		for _, who := range []string{ours, paho, atwat, limit} {
			j := job{Work: "idle", Who: who, Via: via, Count: m.Idle, Profile: m.Profile}
			t.Rows = append(t.Rows, j.against(job{Work: "serve", Via: via}.starter(anywhere), anywhere))
		}
		all = append(all, t)
	}
	return all
}
