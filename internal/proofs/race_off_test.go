//go:build !race

package proofs

const raced = false
