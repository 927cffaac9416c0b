//go:build race

package doctor_test

const raced = true
