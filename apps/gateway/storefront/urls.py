"""The addresses of the storefront."""

from django.urls import path

from apps.gateway.storefront import accounts, buying, catalog, orders

app_name = "storefront"
urlpatterns = [
    path("", catalog.Products.as_view(), name="products"),
    path("products/<str:sku>", catalog.Product.as_view(), name="product"),
    path("basket", buying.Basket.as_view(), name="basket"),
    path("basket/add", buying.Add.as_view(), name="add"),
    path("checkout", buying.Checkout.as_view(), name="checkout"),
    path("orders", orders.Orders.as_view(), name="orders"),
    path("orders/<uuid:order_id>", orders.Order.as_view(), name="order"),
    path("orders/<uuid:order_id>/cancel", orders.Cancel.as_view(), name="cancel"),
    path("sign-in", accounts.SignIn.as_view(), name="sign-in"),
    path("sign-out", accounts.SignOut.as_view(), name="sign-out"),
    path("register", accounts.Register.as_view(), name="register"),
]
