//go:build race

package proofs

const raced = true
