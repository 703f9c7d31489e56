module vmferry.test/receiver

go 1.21
