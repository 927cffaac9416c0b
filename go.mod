module github.com/mqtt311/mqtt311

go 1.25.0
