package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net/url"
	"os"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// tlsProgram presents a client certificate.
func tlsProgram() {
	pem, err := os.ReadFile(ca)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		log.Fatal(err)
	}
	attempts := 0
	opts := mqtt.NewClientOptions().AddBroker(mtls).SetClientID("tls")
	opts.SetTLSConfig(&tls.Config{RootCAs: pool})
	opts.SetConnectionAttemptHandler(func(_ *url.URL, c *tls.Config) *tls.Config {
		attempts++
		c = c.Clone()
		c.Certificates = []tls.Certificate{pair}
		return c
	})
	c := connect(opts)
	defer c.Disconnect(250)
	ch := make(chan string, 1)
	must(c.Subscribe("tls/echo", 2, into(ch)))
	must(c.Publish("tls/echo", 2, false, "over TLS"))
	fmt.Println(collect(ch, 1), attempts)

	opts.SetConnectionAttemptHandler(nil)
	t := mqtt.NewClient(opts).Connect()
	t.Wait()
	fmt.Println("without a certificate:", t.Error() != nil)
}
