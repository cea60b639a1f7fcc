"""The public API of books."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.books import services
from severable.api import caller_id, validated


class LoanSerializer(serializers.Serializer):
    title = serializers.CharField(max_length=100)
    reader_name = serializers.CharField(read_only=True)


class Loans(APIView):
    def post(self, request: Request) -> Response:
        """Borrow a book."""
        wanted = validated(LoanSerializer, request)
        loan = services.lend(title=wanted["title"], reader_id=caller_id(request))
        return Response(LoanSerializer(loan).data, 201)
