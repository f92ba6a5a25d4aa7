"""What a committed chapter, its prose, its links and its built page must and must not hold."""
