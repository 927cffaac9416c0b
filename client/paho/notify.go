package paho

import (
	"net/url"
	"sync"
)

// A ConnectionNotificationType is the type of a ConnectionNotification.
type ConnectionNotificationType int64

// The types of notifications.
const (
	ConnectionNotificationTypeConnected ConnectionNotificationType = iota
	ConnectionNotificationTypeConnecting
	ConnectionNotificationTypeFailed
	ConnectionNotificationTypeLost
	ConnectionNotificationTypeBroker
	ConnectionNotificationTypeBrokerFailed
)

// A ConnectionNotification is an event of the connection: one of the structs below.
type ConnectionNotification interface {
	Type() ConnectionNotificationType
}

// A ConnectionNotificationHandler is called with each event of the connection, in order, on a
// goroutine of its own. It may block; later events then wait.
type ConnectionNotificationHandler func(Client, ConnectionNotification)

// ConnectionNotificationConnected says that the Server has accepted the connection.
type ConnectionNotificationConnected struct {
}

// Type implements ConnectionNotification.
func (n ConnectionNotificationConnected) Type() ConnectionNotificationType {
	return ConnectionNotificationTypeConnected
}

// ConnectionNotificationConnecting says that a round of attempts starts, in which each server is
// tried once. Attempt is the number of the round, from 0.
type ConnectionNotificationConnecting struct {
	IsReconnect bool
	Attempt     int
}

// Type implements ConnectionNotification.
func (n ConnectionNotificationConnecting) Type() ConnectionNotificationType {
	return ConnectionNotificationTypeConnecting
}

// ConnectionNotificationFailed says that all attempts of a round failed; Reason is the error of the
// last.
type ConnectionNotificationFailed struct {
	Reason error
}

// Type implements ConnectionNotification.
func (n ConnectionNotificationFailed) Type() ConnectionNotificationType {
	return ConnectionNotificationTypeFailed
}

// ConnectionNotificationLost says that the connection has ended, and why.
type ConnectionNotificationLost struct {
	Reason error
}

// Type implements ConnectionNotification.
func (n ConnectionNotificationLost) Type() ConnectionNotificationType {
	return ConnectionNotificationTypeLost
}

// ConnectionNotificationBroker says that an attempt to connect to a server starts.
type ConnectionNotificationBroker struct {
	Broker *url.URL
}

// Type implements ConnectionNotification.
func (n ConnectionNotificationBroker) Type() ConnectionNotificationType {
	return ConnectionNotificationTypeBroker
}

// ConnectionNotificationBrokerFailed says that an attempt to connect to a server failed.
type ConnectionNotificationBrokerFailed struct {
	Broker *url.URL
	Reason error
}

// Type implements ConnectionNotification.
func (n ConnectionNotificationBrokerFailed) Type() ConnectionNotificationType {
	return ConnectionNotificationTypeBrokerFailed
}

// A queue runs functions one after another on a goroutine that runs while there are any.
type queue struct {
	mu      sync.Mutex
	waiting []func()
	running bool
}

func (q *queue) put(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, f)
	if !q.running {
		q.running = true
		go q.run()
	}
}

func (q *queue) run() {
	for {
		q.mu.Lock()
		fs := q.waiting
		q.waiting = nil
		q.running = fs != nil
		q.mu.Unlock()
		if fs == nil {
			return
		}
		for _, f := range fs {
			f()
		}
	}
}
