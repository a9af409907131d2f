package session

// fifo is a queue of task numbers that uses its memory again. The zero value is empty.
type fifo struct {
	numbers []uint64
	head    int // index of the first number that was not taken
}

// fifoKeeps is for how many numbers the memory is kept when the queue is empty.
const fifoKeeps = 4096

func (q *fifo) len() int { return len(q.numbers) - q.head }

func (q *fifo) at(i int) uint64 { return q.numbers[q.head+i] }

func (q *fifo) push(number uint64) {
	if len(q.numbers) == cap(q.numbers) && q.head > len(q.numbers)/2 {
		to := q.numbers[:0]
		if cap(to) > fifoKeeps && q.len() < cap(to)/4 {
			to = nil
		}
		q.numbers, q.head = append(to, q.numbers[q.head:]...), 0
	}
	q.numbers = append(q.numbers, number)
}

// take removes the first n.
func (q *fifo) take(n int) {
	q.head += n
	if q.len() > 0 {
		return
	}
	q.numbers, q.head = q.numbers[:0], 0
	if cap(q.numbers) > fifoKeeps {
		q.numbers = nil
	}
}

// putBack puts numbers in front of all others.
func (q *fifo) putBack(numbers []uint64) {
	q.numbers = append(numbers, q.numbers[q.head:]...)
	q.head = 0
}

func (q *fifo) clear() { *q = fifo{} }
