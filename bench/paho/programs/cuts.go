package main

import (
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// A line forwards connections and cuts them.
type line struct {
	mu   sync.Mutex
	conn net.Conn
}

func (l *line) open(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
	return c, err
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn.SetReadDeadline(time.Unix(1, 0))
}

// will publishes a will when its connection ends.
func will() {
	ch := make(chan string, 10)
	watcher := connect(options("will-watcher"))
	defer watcher.Disconnect(250)
	must(watcher.Subscribe("status/#", 1, into(ch)))
	var l line
	lost := make(chan struct{})
	opts := options("will").SetBinaryWill("status/will", []byte("gone"), 1, false).SetAutoReconnect(false)
	opts.SetCustomOpenConnectionFn(l.open).SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) })
	c := connect(opts)
	must(c.Publish("status/will", 1, false, "here"))
	fmt.Println(collect(ch, 1))
	l.cut()
	fmt.Println(collect(ch, 1))
	<-lost
	fmt.Println("connected:", c.IsConnected(), c.IsConnectionOpen())
	must(c.Connect())
	c.Disconnect(250)
	time.Sleep(100 * time.Millisecond)
	fmt.Println("after Disconnect:", len(ch))
}

// resubscribe subscribes whenever it is connected.
func resubscribe() {
	other := connect(options("resubscribe-other"))
	defer other.Disconnect(250)
	must(other.Publish("news/last", 1, true, "retained"))
	ch := make(chan string, 10)
	ups := make(chan struct{}, 10)
	var l line
	opts := options("resubscribe").SetMaxReconnectInterval(time.Second).SetCustomOpenConnectionFn(l.open)
	opts.SetOnConnectHandler(func(c mqtt.Client) {
		must(c.Subscribe("news/#", 1, into(ch)))
		must(c.Subscribe("sport/#", 1, into(ch)))
		ups <- struct{}{}
	})
	c := connect(opts)
	defer c.Disconnect(250)
	<-ups
	fmt.Println(collect(ch, 1))
	l.cut()
	<-ups
	must(other.Publish("sport/now", 1, false, "live"))
	fmt.Println(collect(ch, 2))
	time.Sleep(100 * time.Millisecond)
	fmt.Println("more:", len(ch))
	must(other.Publish("news/last", 1, true, ""))
}
