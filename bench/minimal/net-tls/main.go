// What package crypto/tls alone makes of a program.
package main

import (
	"crypto/tls"
	"os"
)

func main() {
	c, err := tls.Dial("tcp", os.Args[1], nil)
	if err != nil {
		panic(err)
	}
	c.Close()
}
